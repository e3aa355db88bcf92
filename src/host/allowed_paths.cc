// SPDX-License-Identifier: Apache-2.0
#include "host/allowed_paths.h"

#include <algorithm>
#include <filesystem>

namespace lockstep::host {

namespace fs = std::filesystem;

namespace {

/// Whether a path without links is `allowed`, which may have some, or lies in it.
bool leads_into(const fs::path& real, const std::string& allowed) {
    std::error_code failed;
    fs::path folder = fs::canonical(allowed, failed);
    if (failed) return false;
    auto [in_folder, in_path] = std::mismatch(folder.begin(), folder.end(), real.begin(), real.end());
    return in_folder == folder.end();
}

bool leads_into_one(const fs::path& real, const AllowedPaths& allowed) {
    return std::ranges::any_of(allowed, [&](const std::string& one) { return leads_into(real, one); });
}

Error leads_out(const std::string& path) { return error("{} isn't in the folders allowed", path); }

}  // namespace

Result<void> check_allowed(const std::string& path, const AllowedPaths& allowed) {
    fs::path named = path;
    if (!named.is_absolute()) return error("{} is no absolute path", path);
    if (std::find(named.begin(), named.end(), "..") != named.end()) return error("{} has \"..\" in it", path);
    std::error_code failed;
    fs::path real = fs::weakly_canonical(named, failed);
    if (failed || !leads_into_one(real, allowed)) return leads_out(path);
    return {};
}

Result<void> check_opened(int fd, const std::string& path, const AllowedPaths& allowed) {
    std::error_code failed;
    fs::path real = fs::read_symlink(fmt::format("/proc/self/fd/{}", fd), failed);
    if (failed || !leads_into_one(real, allowed)) return leads_out(path);
    return {};
}

}  // namespace lockstep::host
