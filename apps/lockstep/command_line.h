// SPDX-License-Identifier: Apache-2.0
// The command line: one program for everything. docs/operation.md is its manual.
//
// exit_statuses() lists how it may end.
#pragma once

#include <span>
#include <string_view>

#include "vmm/machine_factory.h"

namespace lockstep {

enum ExitStatus : int {
    kDone = 0,
    kFailed = 1,
    kUsage = 2,
    kLost = 3,
    kDiverged = 4,
    kNotNow = 5,
    kNotPermitted = 6
};

struct ExitStatusRow {
    ExitStatus status;
    std::string_view meaning;
};
std::span<const ExitStatusRow> exit_statuses();

/// The whole program, with the machines that `factory` makes.
int run_command_line(int argc, char** argv, vmm::MachineFactory& factory);

}  // namespace lockstep
