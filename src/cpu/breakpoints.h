// SPDX-License-Identifier: Apache-2.0
// Breakpoints of the debug registers (Intel SDM vol. 3, 17.2 and 17.3).
//
// They are held ready from DR0 to DR3, DR7 and CR4.DE, so that an access asks for no more than whether there are
// any. The slow ways to memory tell what they touch; the engine keeps the pages of breakpoints to these ways
// (vcpu_breakpoints.cc), and delivers the trap when the instruction is done.
//
// Of DR6's bits 0 to 3 those of enabled breakpoints alone are ever set. What the CPU reads and writes by itself
// (descriptors, the frames of exceptions) meets no breakpoint.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/strong.h"
#include "cpu/cpu_state.h"

namespace lockstep::cpu {

class Breakpoints {
  public:
    enum class Kind : uint8_t { kCode = 0, kWrite = 1, kPort = 2, kAccess = 3 };  ///< as in DR7
    struct Breakpoint {
        uint64_t start = 0;
        uint64_t size = 0;  ///< bytes
        Kind kind{};
        uint64_t bit = 0;  ///< in DR6
        bool operator==(const Breakpoint&) const = default;
    };

    /// To be called when debug registers or CR4 have changed. What has been met before is forgotten.
    void load(const CpuState& state);
    std::span<const Breakpoint> all() const { return {breakpoints_.data(), count_}; }
    /// Another number after every change.
    uint64_t version() const { return version_; }

    bool any_code() const { return code_; }
    /// Whether there is an instruction breakpoint on the page of `rip`.
    bool has_code_on_page(uint64_t rip) const { return code_ && on_page(rip, Kind::kCode, Kind::kCode); }
    /// DR6's bits of the instruction breakpoints at `rip`.
    uint64_t met_by_fetch(uint64_t rip) const;

    /// Whether there is a data breakpoint on the page of `at`.
    bool has_data_on_page(uint64_t at) const { return data_ && on_page(at, Kind::kWrite, Kind::kAccess); }
    /// Whether a byte of [at, at + size) has a data breakpoint.
    bool watches(uint64_t at, uint64_t size) const { return data_ && overlaps(at, size); }
    void note_read(uint64_t at, uint64_t size) {
        if (data_) met_ |= met(at, size, Kind::kAccess, Kind::kAccess);
    }
    void note_write(uint64_t at, uint64_t size) {
        if (data_) met_ |= met(at, size, Kind::kAccess, Kind::kWrite);
    }
    void note_port(uint16_t port, unsigned size) {
        if (ports_) met_ |= met(port, size, Kind::kPort, Kind::kPort);
    }
    /// DR6's bits of what the present instruction has met so far: after it a trap is due. A repeated string
    /// instruction ends its piece there.
    uint64_t met() const { return met_; }
    uint64_t take_met();

  private:
    bool on_page(uint64_t at, Kind one, Kind other) const;
    bool overlaps(uint64_t at, uint64_t size) const;
    uint64_t met(uint64_t at, uint64_t size, Kind one, Kind other) const;

    std::array<Breakpoint, 4> breakpoints_{};
    size_t count_ = 0;
    bool code_ = false, data_ = false, ports_ = false;
    uint64_t met_ = 0;
    uint64_t version_ = 0;
};

}  // namespace lockstep::cpu
