// SPDX-License-Identifier: Apache-2.0
// A VM process that hangs (stopped by a signal, or caught in an endless loop) keeps its runtime folder, and so keeps
// every other process from serving the VM on this host. It is ended, if it is shown that it can't own the VM.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "host/runtime_folder.h"

namespace lockstep::host {

/// In ms. Together they are below the time for which an owner waits for an answer (vmm/backup_seeker.cc).
struct HungProcessBounds {
    uint64_t answer = 2000;  ///< a process that hasn't answered at its control socket by then hangs
    uint64_t end = 1000;     ///< after SIGKILL
};

/// Whether the process that claims as `claimant` can't own its VM now or later; the sentence says why that isn't sure.
using OwnsNothing = std::function<Result<void>(const Claimant& claimant)>;

/// Ends the process that holds the runtime folder of `vm`, if it doesn't answer and `owns_nothing`; waits for both.
/// No error where nobody holds the folder or its holder answers. Fails with a sentence where a process that hangs
/// stays.
Result<void> end_hung_process(const std::string& base, const std::string& vm, const OwnsNothing& owns_nothing,
                              const HungProcessBounds& bounds = {});

}  // namespace lockstep::host
