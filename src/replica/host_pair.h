// SPDX-License-Identifier: Apache-2.0
// The two hosts of a protected VM, as the owner tells them to the arbiter before it relies on its backup.
//
// A protected pair goes on without the arbiter (docs/adr/0001-who-may-act.md), so an unchanged lease proves nothing
// about it. Where it is known, whoever starts the VM on a third host yields. On the pair's own hosts that isn't needed: a
// host has one process of a VM, and where one is missing the other may not act without a claim.
#pragma once

#include <string>
#include <string_view>

namespace lockstep::replica {

/// Names of hosts, as Config::host; both empty: the VM has no backup.
struct HostPair {
    std::string owner, backup;

    bool empty() const { return backup.empty(); }
    bool has(std::string_view host) const { return !empty() && (host == owner || host == backup); }
    bool operator==(const HostPair&) const = default;
};

}  // namespace lockstep::replica
