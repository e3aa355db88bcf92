// SPDX-License-Identifier: Apache-2.0
// seccomp: which system calls this process may make from now on.
#pragma once

#include "base/result.h"

namespace lockstep::host {

/// Leaves all threads of the process the calls that serving a VM takes; others fail with EPERM. Not among them: starting programs,
/// looking into other processes, mounting, changing users, kernel modules, keys, BPF, packet sockets.
/// Fails with a sentence where the kernel can't. There is no way back.
Result<void> restrict_system_calls();

}  // namespace lockstep::host
