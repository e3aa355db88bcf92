// SPDX-License-Identifier: Apache-2.0
#include "vmm/allowances.h"

#include <algorithm>

namespace lockstep::vmm {

namespace {

bool matches(const std::string& name, const std::string& pattern) {
    if (!pattern.ends_with('*')) return name == pattern;
    return name.starts_with(pattern.substr(0, pattern.size() - 1));
}

/// Where the remedy is comes first: the end of a long sentence isn't shown on the other side (base/foreign_text.h).
Result<void> check_path(std::string_view key, const std::string& path, const Allowances& allowances) {
    if (path.empty()) return {};
    if (Result<void> allowed = host::check_allowed(path, allowances.folders); !allowed)
        return error("allow.folders in its {} refuses {}: {}", allowances.file, key,
                     allowed.error().message());
    return {};
}

Result<void> check_name(std::string_view what, const std::string& name,
                        const std::vector<std::string>& allowed, std::string_view key,
                        const Allowances& allowances) {
    if (name.empty() ||
        std::ranges::any_of(allowed, [&](const std::string& pattern) { return matches(name, pattern); }))
        return {};
    return error("{} in its {} doesn't list the {} {}", key, allowances.file, what, name);
}

}  // namespace

Result<void> check_allowances(const VmSettings& settings, const Allowances& allowances) {
    TRY(check_path("vm.kernel", settings.kernel, allowances));
    TRY(check_path("vm.initrd", settings.initrd, allowances));
    for (const DiskSettings& disk : settings.disks) TRY(check_path("disk.path", disk.path, allowances));
    TRY(check_path("protection.arbiter", settings.protection.arbiter, allowances));
    for (const NetworkSettings& network : settings.networks) {
        TRY(check_name("TAP device", network.tap, allowances.taps, "allow.taps", allowances));
        TRY(check_name("bridge", network.bridge, allowances.bridges, "allow.bridges", allowances));
    }
    return {};
}

}  // namespace lockstep::vmm
