// SPDX-License-Identifier: Apache-2.0
// `lockstep debug`: a recording, and the gdbs that look at it, one after the other.
#pragma once

#include <functional>
#include <string>

#include "debug/timeline.h"
#include "host/address.h"

namespace lockstep::debug {

struct DebugOptions {
    std::string path;
    TimelineOptions timeline;
    /// Where gdb connects to; empty: it is at the other end of standard input and output.
    std::string listen;
    std::function<void()> opened;  ///< called when the file needs its name no longer, but for `monitor log`
    /// Called with the address once gdb may connect.
    std::function<void(const std::string& address)> listening;
};

/// Until a gdb kills its target; on standard input and output until gdb leaves.
Result<void> serve_debuggers(vmm::MachineFactory& factory, const DebugOptions& options);

}  // namespace lockstep::debug
