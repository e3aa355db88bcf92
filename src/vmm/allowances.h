// SPDX-License-Identifier: Apache-2.0
// What the owner of a VM on another host may name on this one. A process with root's rights opens it, so it is this host's
// operator who says what that may be (control/host_config.h), never the peer.
#pragma once

#include <string>
#include <vector>

#include "host/allowed_paths.h"
#include "vmm/settings.h"

namespace lockstep::vmm {

struct Allowances {
    host::AllowedPaths folders = {"/var/lib/lockstep"};  ///< of disks, kernels, RAM disks and the arbiter
    std::vector<std::string> bridges;                    ///< names; "web*": all that begin so
    std::vector<std::string> taps;                       ///< the same
    std::string file;                                    ///< where the operator changes this
};

/// Fails with a sentence that names the thing, and the key to which this host's operator may add it.
Result<void> check_allowances(const VmSettings& settings, const Allowances& allowances);

}  // namespace lockstep::vmm
