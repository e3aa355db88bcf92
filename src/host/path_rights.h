// SPDX-License-Identifier: Apache-2.0
// Landlock: what of the file system this process may open from now on, whoever its user is.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "host/file_descriptor.h"

namespace lockstep::host {

enum class PathUse : uint8_t {
    kRead,           ///< a file, or all below a folder
    kReadWrite,      ///< a file or device that exists
    kOwn,            ///< a folder: files, sockets and links in it are made, changed and removed
    kMakeFiles,      ///< a folder: files are made in it and written to
    kRemoveFolders,  ///< a folder: folders in it are removed, once they are empty
};

struct PathRight {
    std::string path;
    PathUse use;
};

/// Takes all rights to files from the calling thread, and those that it starts later, but these and what is open already. Paths that
/// don't exist are left out. `nameless_folder`: the root of a file system without a path, which is kOwn as well; -1: none.
/// Fails with a sentence where the kernel can't; then nothing has changed. There is no way back.
Result<void> restrict_paths(const std::vector<PathRight>& rights, int nameless_folder = -1);

}  // namespace lockstep::host
