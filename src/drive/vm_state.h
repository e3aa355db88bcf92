// SPDX-License-Identifier: Apache-2.0
// The state of a machine together with what its driver counts: what a snapshot in a recording holds, and, as far
// as the memory goes page by page, what a new backup is sent.
#pragma once

#include "bus/virtual_clock.h"
#include "machine/machine.h"

namespace lockstep::drive {

/// What the code around a machine counts and the log's marks refer to.
struct DriverCounts {
    uint64_t outputs = 0;           ///< made since power-on
    uint64_t rate = bus::kRateOne;  ///< of guest time, as the last kTimeRate says
    uint64_t resets = 0;            ///< since this process has the machine; for people, not saved
};

/// The counts, then the machine's state.
Bytes save_state(machine::Machine& machine, const DriverCounts& counts);
Result<DriverCounts> load_state(machine::Machine& machine, ByteSpan state);

/// The same without the memory, which goes, and is to be there already, by itself (memory/clone.h).
Bytes save_without_memory(machine::Machine& machine, const DriverCounts& counts);
Result<DriverCounts> load_without_memory(machine::Machine& machine, ByteSpan state);

}  // namespace lockstep::drive
