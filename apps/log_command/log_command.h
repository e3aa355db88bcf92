// SPDX-License-Identifier: Apache-2.0
// The inspector of logs on the command line: lockstep log summary|entries|hashes|verify|diff FILE...
#pragma once

namespace CLI {
class App;
}

namespace lockstep {

/// Adds the command `log` to a program. Its subcommands print to standard output; where a log has a problem
/// (or two logs differ) the sentence goes to standard error and CLI::RuntimeError(1) leaves the parse, from
/// which CLI::App::exit() makes exit status 1.
void add_log_commands(CLI::App& program);

}  // namespace lockstep
