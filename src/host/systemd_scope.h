// SPDX-License-Identifier: Apache-2.0
// A VM's process in a unit of its own, where its daemon is a service of systemd: the end of the one isn't the other's.
#pragma once

#include <string>
#include <vector>

namespace lockstep::host {

/// Moves this process, and those that it starts later, from lockstep.service to a scope of its own. Does nothing where the process
/// is in no such service: without systemd a process with a session of its own needs no more.
void enter_own_scope(const std::string& vm);

/// What `busctl` is to be called with, for tests.
std::vector<std::string> scope_arguments(const std::string& vm, int process);

}  // namespace lockstep::host
