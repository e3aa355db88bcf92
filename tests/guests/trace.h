// SPDX-License-Identifier: Apache-2.0
// The trace of a guest: its complete state after every instruction, by running one instruction at a time.
#pragma once

#include <string>
#include <vector>

#include "base/hash.h"
#include "kit/guest_machine.h"

namespace lockstep::guests {

/// A state that two runs must agree on.
struct TracePoint {
    cpu::CpuState state;
    uint64_t memory_hash = 0;
};

inline TracePoint trace_point(const GuestMachine& machine) {
    return {machine.cpu->state, machine.memory->hash()};
}

/// The difference as text, or empty.
std::string compare(const TracePoint& expected, const TracePoint& actual);

/// Runs the loaded guest until it ends; element n is the state after n instructions.
std::vector<TracePoint> trace(GuestMachine& machine, uint64_t most = 5000);

}  // namespace lockstep::guests
