// SPDX-License-Identifier: Apache-2.0
// Which of the hosts in protection.hosts is this one, and which are the others.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace lockstep::vmm {

/// For a VM that is started here: fails unless exactly one of `hosts` is this host. `this_host` says which;
/// empty: the one whose address is of this host. No hosts, no others.
Result<std::vector<std::string>> hosts_beside_owner(const std::vector<std::string>& hosts,
                                                    const std::string& this_host);

/// For a backup, whose daemon listens at `listen`: the owner may know this host by another address, so here
/// it may be one of the others.
std::vector<std::string> hosts_beside_backup(const std::vector<std::string>& hosts,
                                             const std::string& listen);

/// What this host is called towards others: its entry in `hosts`, whichever process says so; without one
/// `this_host`, or the name that its operator gave it.
std::string name_of_host(const std::vector<std::string>& hosts, const std::string& this_host);

}  // namespace lockstep::vmm
