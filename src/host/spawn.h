// SPDX-License-Identifier: Apache-2.0
// Starts another process of this very program.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace lockstep::host {

/// A descriptor of this process, and its number in the new one.
struct PassedDescriptor {
    int here;
    int there;
};

/// Starts this program with `arguments` (the first is its name). It has a session of its own, no blocked and no ignored signals, and of this process's
/// descriptors those that are passed and those without FD_CLOEXEC.
Result<pid_t> spawn_self(std::vector<std::string> arguments,
                         const std::vector<PassedDescriptor>& descriptors);

}  // namespace lockstep::host
