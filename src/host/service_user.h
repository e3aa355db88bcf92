// SPDX-License-Identifier: Apache-2.0
// The user that VM processes act as, in place of root.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace lockstep::host {

struct ServiceUser {
    std::string name;
    uid_t user;
    gid_t group;
};

/// None where the host has no user of that name.
std::optional<ServiceUser> find_service_user(const std::string& name);

/// Whether that user may do it, by owner, group and mode alone. A path that doesn't exist is no obstacle.
enum class Access : uint8_t { kRead, kChange };
bool may_access(const ServiceUser& user, const std::string& path, Access access);

/// Gives a folder and the files in it to the user.
Result<void> give_to(const ServiceUser& user, const std::string& folder);
/// All threads of this process act as that user from now on, and can't be root again. What it may do with its threads' priorities
/// stays so. Fails with a sentence; then nothing has changed.
Result<void> become(const ServiceUser& user);

}  // namespace lockstep::host
