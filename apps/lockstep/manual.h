// SPDX-License-Identifier: Apache-2.0
// The manual page lockstep(1) and the completion for bash, made from the program's own parser: they can't disagree with it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace lockstep {

/// The manual page, for man(1).
std::string manual_page(const CLI::App& program);
/// A script that bash sources; it completes commands, options, VMs' names and the words that an argument may be.
std::string bash_completion(const CLI::App& program);

/// Adds the commands that print them.
void add_manual_commands(CLI::App& program);

}  // namespace lockstep
