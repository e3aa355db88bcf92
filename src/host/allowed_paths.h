// SPDX-License-Identifier: Apache-2.0
// Whether a path that somebody else has named stays within what this host allows.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace lockstep::host {

/// Folders in which a path must lie, or files and devices that it may lead to. All absolute.
using AllowedPaths = std::vector<std::string>;

/// Follows symbolic links: what counts is where the path leads. Fails for one that isn't absolute or has "..", too. The
/// sentence names the path, not the remedy.
Result<void> check_allowed(const std::string& path, const AllowedPaths& allowed);

/// The same of a file that was opened by `path`: a link may have been changed since the path was looked at.
Result<void> check_opened(int fd, const std::string& path, const AllowedPaths& allowed);

}  // namespace lockstep::host
