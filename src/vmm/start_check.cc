// SPDX-License-Identifier: Apache-2.0
#include "vmm/start_check.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "host/arbiter.h"
#include "host/clock.h"
#include "host/disk_format.h"
#include "host/disk_image.h"
#include "host/files.h"
#include "host/identity.h"
#include "host/limits.h"
#include "host/tap_device.h"
#include "vmm/backends.h"
#include "vmm/cpu_choice.h"
#include "vmm/host_list.h"

namespace lockstep::vmm {

namespace {

/// What the engine takes beside the guest's memory and its code cache.
constexpr uint64_t kEngineBytes = 256 << 20;

Result<void> check_disk(const DiskSettings& disk) {
    TRY(host::DiskImage::size_of(disk.path));
    TRY(host::DiskImage::check(image_options(disk)));
    if (disk.format == DiskFormat::kRaw) return {};
    return host::check_image_is_raw(disk.path);
}

}  // namespace

StartCheck check_start(const VmSettings& given, const std::string& this_host, const LinkSecurity& security,
                       MachineFactory& factory) {
    StartCheck found{.settings = given, .obstacles = {}, .others = {}, .configuration = {}};
    VmSettings& settings = found.settings;
    auto note = [&found](const auto& result) {
        if (result.ok()) return;
        const std::string& sentence = result.error().message();
        bool known = std::ranges::find(found.obstacles, sentence) != found.obstacles.end();
        if (!known) found.obstacles.push_back(sentence);
    };
    note(fix_cpu_model(settings));
    auto others = hosts_beside_owner(settings.protection.hosts, this_host);
    note(others);
    if (others) found.others = others.take();
    for (const DiskSettings& disk : settings.disks) note(check_disk(disk));
    found.configured_ns = host::monotonic_ns();
    auto configuration = factory.configure(settings);
    note(configuration);
    if (configuration) found.configuration = configuration.take();
    note(check_resources(settings));
    for (const NetworkSettings& network : settings.networks)
        note(host::check_tap({network.tap, network.bridge}));
    if (security.kind == Security::kTls && !settings.protection.hosts.empty())
        note(host::load_identity(security.folder));
    return found;
}

Result<void> check_resources(const VmSettings& settings) {
    return host::check_host(
        {.memory_bytes = settings.memory_bytes + settings.engine.code_cache_bytes + kEngineBytes,
         .mappings = 0});
}

Result<void> check_arbiter(const VmSettings& settings) {
    const std::string& folder = settings.protection.arbiter;
    if (settings.protection.hosts.empty()) return {};
    host::TermAnswer latest = host::latest_term_in_folder(folder, settings.name);
    std::string why = latest.detail;
    if (latest.reachable && ::access(folder.c_str(), W_OK | X_OK) != 0)
        why = host::file_error("reach the arbiter's folder", folder, errno).message();
    if (why.empty()) return {};
    return error("the arbiter of VM {} is out of reach: {}", settings.name, why);
}

}  // namespace lockstep::vmm
