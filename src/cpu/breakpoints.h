// SPDX-License-Identifier: Apache-2.0
// Breakpoints of the debug registers (Intel SDM vol. 3, 17.2 and 17.3).
//
// They are held ready from DR0 to DR3, DR7 and CR4.DE, so that an access asks for no more than whether there are
// any. The slow ways to memory tell what they touch; the engine keeps the pages of breakpoints to these ways
// (vcpu_breakpoints.cc), and delivers the trap when the instruction is done.
//
// Of DR6's bits 0 to 3 those of enabled breakpoints alone are ever set. What the CPU reads and writes by itself
// (descriptors, the frames of exceptions) meets no breakpoint.
//
// Beside them are STOPS, which whoever looks at the machine from outside (a debugger) sets. They go by the same slow
// ways, but nothing of them can be seen in the guest: the engine just leaves, before an instruction that has one,
// or after one that has touched one. They are no part of the state.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

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

    /// Of the guest's own.
    bool any_code() const { return code_; }
    /// Whether there is an instruction breakpoint on the page of `rip`.
    bool has_code_on_page(uint64_t rip) const {
        return (code_ || any_stops()) && on_page(rip, Kind::kCode, Kind::kCode);
    }
    /// DR6's bits of the instruction breakpoints at `rip`.
    uint64_t met_by_fetch(uint64_t rip) const;

    /// Whether there is a data breakpoint on the page of `at`.
    bool has_data_on_page(uint64_t at) const { return data_ && on_page(at, Kind::kWrite, Kind::kAccess); }
    /// Whether a byte of [at, at + size) has a data breakpoint.
    bool watches(uint64_t at, uint64_t size) const { return data_ && overlaps(at, size); }
    void note_read(uint64_t at, uint64_t size) {
        if (data_) note_data(at, size, Kind::kAccess, Kind::kAccess);
    }
    void note_write(uint64_t at, uint64_t size) {
        if (data_) note_data(at, size, Kind::kAccess, Kind::kWrite);
    }
    void note_port(uint16_t port, unsigned size) {
        if (ports_) met_ |= met(port, size, Kind::kPort, Kind::kPort);
    }
    /// DR6's bits of what the present instruction has met so far: after it a trap is due. A repeated string
    /// instruction ends its piece there.
    uint64_t met() const { return met_; }
    uint64_t take_met();

    /// A debugger's, in linear addresses; `bit` means nothing.
    using Stop = Breakpoint;
    void set_stops(const std::vector<Stop>& stops);
    /// All of them, in pieces that lie on one page each.
    std::span<const Stop> stops() const { return stops_; }
    bool any_stops() const { return !stops_.empty(); }
    /// Whether the instruction at `linear` isn't to be executed yet. Once it was held at an icount it is let go there.
    bool holds(uint64_t linear, Icount now);
    /// The instruction at this icount is executed, whatever it has.
    void let_go(Icount now) { let_go_ = now; }
    /// A stop was met and the machine has not been left for it yet.
    bool stop_met() const { return stop_met_.has_value(); }
    std::optional<Stop> take_stop() { return std::exchange(stop_met_, std::nullopt); }

  private:
    bool on_page(uint64_t at, Kind one, Kind other) const;
    bool overlaps(uint64_t at, uint64_t size) const;
    uint64_t met(uint64_t at, uint64_t size, Kind one, Kind other) const;
    void note_data(uint64_t at, uint64_t size, Kind one, Kind other);
    void look_for_data();

    std::array<Breakpoint, 4> breakpoints_{};
    size_t count_ = 0;
    bool code_ = false, ports_ = false;
    bool data_ = false;  ///< or a stop
    uint64_t met_ = 0;
    uint64_t version_ = 0;
    std::vector<Stop> stops_;
    std::optional<Stop> stop_met_;
    std::optional<Icount> let_go_;
};

}  // namespace lockstep::cpu
