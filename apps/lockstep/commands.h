// SPDX-License-Identifier: Apache-2.0
// What the parts of the command line share: each adds its commands to the program.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "base/result.h"
#include "lockstep/command_line.h"
#include "vmm/machine_factory.h"
#include "vmm/vm_process.h"

namespace lockstep {

/// run, record: start a VM in this process.
void add_run_commands(CLI::App& program, vmm::MachineFactory& factory);
/// replay
void add_replay_command(CLI::App& program, vmm::MachineFactory& factory);
/// debug
void add_debug_command(CLI::App& program, vmm::MachineFactory& factory);
/// serve, and the process that it starts for each backup.
void add_host_commands(CLI::App& program, vmm::MachineFactory& factory);
/// api: for people and programs.
void add_api_command(CLI::App& program);
/// list, start, stop: the VMs that this host's daemon looks after.
void add_keeper_commands(CLI::App& program);
/// host: before and after the maintenance of this host.
void add_evacuate_commands(CLI::App& program);
/// cluster: the hosts that trust each other.
void add_cluster_commands(CLI::App& program);
/// status, console and one command for each action that a running VM takes.
void add_vm_commands(CLI::App& program);

/// Copies a VM that runs here to a file that doesn't exist yet; returns when it is whole.
void take_snapshot(const std::string& runtime, const std::string& vm, const std::string& path);

/// Leaves the program with this status.
[[noreturn]] inline void leave(ExitStatus status) { throw CLI::RuntimeError(status); }
/// The same after a sentence on standard error.
[[noreturn]] void leave_with(ExitStatus status, const std::string& sentence);
/// The value, or leave with the error's sentence.
template <typename T>
T value_or_leave(Result<T> result) {
    if (!result) leave_with(kFailed, result.error().message());
    return result.take();
}

/// Adds the switch --insecure, and the folder of this host's identity.
void add_security_options(CLI::App& command, vmm::LinkSecurity& security);

/// Adds the switch --json, which every command has that answers with an object.
void add_json_option(CLI::App& command, bool& json);

/// Adds the option --runtime, which every command that meets running VMs has.
void add_runtime_option(CLI::App& command, std::string& base);

/// Process log to standard error, a line a message, with time and level. `raw_terminal`: the terminal is in
/// raw mode, so a line's end needs a carriage return.
void log_to_standard_error(bool raw_terminal);

/// The exit status of a VM process that ended so.
ExitStatus status_of(const vmm::Ending& ending);

}  // namespace lockstep
