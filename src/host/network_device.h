// SPDX-License-Identifier: Apache-2.0
// Questions about network devices of this host, which need no rights. Each sees the network namespace of the
// thread that asks.
#pragma once

#include <string>
#include <vector>

namespace lockstep::host {

/// The driver of a device, as "tun" or "bridge"; empty: there is no such device, or it has none.
std::string driver_of(const std::string& device);

/// The indexes of a bridge's ports.
std::vector<int> ports_of(const std::string& bridge);

/// What keeps a guest's packets from getting beyond this host: its TAP device or bridge is gone or down, or
/// none of the bridge's ways out has a carrier. A sentence; empty: nothing is known against it. `bridge` may
/// be empty. TAP devices are no ways out; a bridge with nothing else is the guests' own network.
std::string guest_link_fault(const std::string& tap, const std::string& bridge);

}  // namespace lockstep::host
