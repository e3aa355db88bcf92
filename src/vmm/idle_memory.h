// SPDX-License-Identifier: Apache-2.0
// When a guest that is idle gives the engine's memory back to its host, and when one that works takes some ahead.
//
// A boot leaves hundreds of megabytes of translated code, of which an idle guest needs a few. It is all thrown
// away once the guest has been idle for a while, and what is needed is translated anew; so a host holds many
// guests that have little to do. A guest that never rests keeps what it has.
#pragma once

#include <cstdint>

namespace lockstep::vmm {

class IdleMemory {
  public:
    static constexpr uint64_t kPeriodNs = 15'000'000'000;
    static constexpr uint64_t kIdlePermille = 50;  ///< of a processor, at most
    static constexpr uint64_t kWorthwhileBytes = 16ull
                                                 << 20;  ///< of code; the tables take as much again and more

    /// Whether is_due() has something to decide.
    bool looks_at(uint64_t now_ns) const { return now_ns >= look_ns_; }
    /// Whether to give it back now. `cpu_ns`: what the vCPU's thread has used so far.
    bool is_due(uint64_t now_ns, uint64_t cpu_ns, uint64_t code_bytes) {
        bool idle = (cpu_ns - cpu_ns_) * 1000 <= (now_ns - since_ns_) * kIdlePermille;
        bool known = since_ns_ != 0;
        since_ns_ = now_ns;
        cpu_ns_ = cpu_ns;
        look_ns_ = now_ns + kPeriodNs;
        return known && idle && code_bytes >= kWorthwhileBytes;
    }

  private:
    uint64_t look_ns_ = 0;
    uint64_t since_ns_ = 0;  ///< 0: the first period hasn't begun
    uint64_t cpu_ns_ = 0;    ///< at that time
};

/// Whether a backup's guest works, so that what the engine takes from its host ahead will be needed.
class WorkMeter {
  public:
    static constexpr uint64_t kPeriodNs = 1'000'000'000;
    static constexpr uint64_t kBusyPermille = 100;  ///< of a processor, at least

    /// `cpu_ns` as above.
    bool works(uint64_t now_ns, uint64_t cpu_ns) {
        bool begins = since_ns_ == 0;
        if (!begins && now_ns < since_ns_ + kPeriodNs) return works_;
        works_ = !begins && (cpu_ns - cpu_ns_) * 1000 >= (now_ns - since_ns_) * kBusyPermille;
        since_ns_ = now_ns;
        cpu_ns_ = cpu_ns;
        return works_;
    }
    /// So much of what the thread used was not the guest's.
    void leave_out(uint64_t cpu_ns) { cpu_ns_ += cpu_ns; }

  private:
    uint64_t since_ns_ = 0;  ///< 0: the first period hasn't begun
    uint64_t cpu_ns_ = 0;    ///< at that time
    bool works_ = false;     ///< in the last period
};

}  // namespace lockstep::vmm
