// SPDX-License-Identifier: Apache-2.0
// A map of translated code for profilers: /tmp/perf-PID.map in the format of perf (the file jit-interface.txt
// of its documentation), which tells whose guest code a sample in the code cache belongs to.
#pragma once

#include <string>

#include "machine/machine.h"
#include "translate/engine_report.h"

namespace lockstep::vmm {

/// A line of the map: start, size (both hexadecimal), name.
std::string perf_map_line(const translate::CodePiece& piece);

/// Where this process's map is.
std::string perf_map_path();

/// From now on the machine's code is listed, before it is thrown away and when the machine goes. A map of an
/// earlier process of this number is replaced. Where the file can't be written a warning is all that happens.
void write_perf_map(machine::Machine& machine);

}  // namespace lockstep::vmm
