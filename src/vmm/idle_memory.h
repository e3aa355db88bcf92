// SPDX-License-Identifier: Apache-2.0
// When a guest that is idle gives the engine's memory back to its host.
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

}  // namespace lockstep::vmm
