// SPDX-License-Identifier: Apache-2.0
// What a debugger sees of a machine, and where it wants to stop. Nothing of it can be noticed in the guest.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cpu/breakpoints.h"
#include "cpu/cpu_state.h"

namespace lockstep::machine {

class Probe {
  public:
    using Stop = cpu::Breakpoints::Stop;

    virtual ~Probe() = default;
    virtual const cpu::CpuState& processor() const = 0;
    /// Reads what lies at a linear address by the present page tables, whatever they allow; returns how many bytes
    /// from the start on are RAM. Sets no accessed bit and asks no device.
    virtual size_t read_linear(uint64_t at, std::span<uint8_t> out) const = 0;
    /// Where a linear address leads by the present page tables, whatever they allow.
    virtual std::optional<GuestPhys> physical(uint64_t at) const = 0;
    /// Where run() leaves (machine::Stop::kDebugger): before an instruction, or after one that has touched data.
    virtual void set_stops(const std::vector<Stop>& stops) = 0;
    /// The one that was met last.
    virtual std::optional<Stop> take_stop() = 0;
    /// The next instruction is executed, whatever stop it has.
    virtual void step_over() = 0;
};

}  // namespace lockstep::machine
