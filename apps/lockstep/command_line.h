// SPDX-License-Identifier: Apache-2.0
// The command line: one program for everything. docs/operation.md is its manual.
//
// Exit status
//     0  done; of `run`: the guest is off, or goes on elsewhere as wanted
//     1  it failed; one sentence on standard error says why and what to do
//     2  the command line makes no sense
//     3  of `run`: this side was stopped, because the other side owns the guest
//     4  of `replay`: the replay differed from its log
#pragma once

#include "vmm/machine_factory.h"

namespace lockstep {

enum ExitStatus : int { kDone = 0, kFailed = 1, kUsage = 2, kLost = 3, kDiverged = 4 };

/// The whole program, with the machines that `factory` makes.
int run_command_line(int argc, char** argv, vmm::MachineFactory& factory);

}  // namespace lockstep
