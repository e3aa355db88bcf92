// SPDX-License-Identifier: Apache-2.0
#include "vmm/settings_check.h"

#include <algorithm>
#include <set>

#include "base/foreign_text.h"
#include "host/address.h"
#include "host/orphan_frames.h"
#include "host/runtime_folder.h"
#include "host/tap_device.h"
#include "x86/features.h"

namespace lockstep::vmm {

namespace {

constexpr size_t kMostDisks = 8;
constexpr size_t kMostNetworks = host::OrphanFrames::kMostNetworks;
constexpr size_t kLongestCommandLine = 2047;
constexpr size_t kMostHosts = 16;
constexpr size_t kLongestPath = 4095;  // PATH_MAX, without its end

Result<void> check_disks(const std::vector<DiskSettings>& disks) {
    if (disks.size() > kMostDisks) return error("more than {} disks; remove some", kMostDisks);
    std::set<std::string> paths, serials;
    for (const DiskSettings& disk : disks) {
        if (!paths.insert(disk.path).second)
            return error("the disk {} is named twice; remove one", disk.path);
        if (!disk.serial.empty() && !serials.insert(disk.serial).second)
            return error("two disks have the serial \"{}\", so the guest can't tell them apart; change one",
                         disk.serial);
    }
    return {};
}

Result<void> check_networks(const std::vector<NetworkSettings>& networks) {
    if (networks.size() > kMostNetworks) return error("more than {} networks; remove some", kMostNetworks);
    std::set<std::string> taps;
    std::set<std::array<uint8_t, 6>> macs;
    for (const NetworkSettings& network : networks) {
        if (!taps.insert(network.tap).second)
            return error("the TAP device {} is named twice; rename one", network.tap);
        if (!macs.insert(network.mac).second)
            return error("two networks have the MAC address {}; change one", host::mac_text(network.mac));
    }
    return {};
}

Result<void> check_protection(const VmSettings& settings) {
    const ProtectionSettings& protection = settings.protection;
    if (protection.hosts.empty()) return {};
    if (protection.hosts.size() > kMostHosts)
        return error("protection.hosts names more than {} hosts; remove some", kMostHosts);
    if (protection.failure_ms < 3 * protection.heartbeat_ms)
        return error(
            "protection.failure_ms ({}) must be at least three times protection.heartbeat_ms ({}), lest one "
            "lost heartbeat looks like a failure; raise the one or lower the other",
            protection.failure_ms, protection.heartbeat_ms);
    for (const DiskSettings& disk : settings.disks)
        if (!disk.shared && !disk.read_only)
            return error(
                "the disk {} is neither shared nor read_only, so no other host could go on with it; put it "
                "on shared storage and set shared = true, or remove [protection]",
                disk.path);
    return {};
}

Result<void> check_range(std::string_view key, uint64_t value, Range range) {
    if (value >= range.least && value <= range.greatest) return {};
    return error("{} is {}, but must be {} to {}", key, value, range.least, range.greatest);
}

/// A path, or another text without a rule of its own.
Result<void> check_text(std::string_view key, const std::string& text) {
    if (text.size() > kLongestPath)
        return error("{} is longer than {} characters; shorten it", key, kLongestPath);
    bool control = std::any_of(text.begin(), text.end(),
                               [](char c) { return (c >= 0 && c < ' ' && c != '\t') || c == 127; });
    if (control) return error("{} has control characters: {}", key, foreign_text(text));
    return {};
}

Result<void> check_texts(const VmSettings& settings) {
    TRY(check_text("vm.kernel", settings.kernel));
    if (!settings.kernel.empty() && settings.firmware != Firmware::kNone)
        return error("vm.kernel and vm.firmware both would start the guest; remove one of them");
    if (settings.firmware != Firmware::kNone && !(settings.initrd.empty() && settings.command_line.empty()))
        return error(
            "vm.initrd and vm.command_line belong to vm.kernel, which is missing; add it, or remove them");
    TRY(check_text("vm.initrd", settings.initrd));
    TRY(check_text("vm.command_line", settings.command_line));
    TRY(check_text("protection.arbiter", settings.protection.arbiter));
    for (const DiskSettings& disk : settings.disks) {
        TRY(check_text("disk.path", disk.path));
        TRY(check_text("disk.serial", disk.serial));
    }
    return {};
}

Result<void> check_numbers(const VmSettings& settings) {
    const ProtectionSettings& protection = settings.protection;
    TRY(check_range("vm.memory", settings.memory_bytes, kMemoryBytes));
    if (settings.memory_bytes % kMemoryStep) return error("vm.memory must be a multiple of 2 MiB");
    TRY(check_range("protection.heartbeat_ms", protection.heartbeat_ms, kHeartbeatMs));
    TRY(check_range("protection.failure_ms", protection.failure_ms, kFailureMs));
    TRY(check_range("protection.storage_ms", protection.storage_ms, kStorageMs));
    TRY(check_range("protection.lag_ms", protection.lag_ms, kLagMs));
    TRY(check_range("protection.log_buffer", protection.log_buffer, kLogBufferBytes));
    TRY(check_range("protection.hash_ms", protection.hash_ms, kHashMs));
    if (protection.copy_rate) TRY(check_range("protection.copy_rate", protection.copy_rate, kCopyRate));
    TRY(check_range("engine.code_cache", settings.engine.code_cache_bytes, kCodeCacheBytes));
    TRY(check_range("engine.block_limit", settings.engine.block_limit, kBlockLimit));
    TRY(check_range("console.kind", static_cast<uint64_t>(settings.console.kind),
                    {0, static_cast<uint64_t>(ConsoleKind::kNone)}));
    return check_range("console.port", static_cast<uint64_t>(settings.console.port),
                       {0, static_cast<uint64_t>(ConsolePort::kVirtio)});
}

}  // namespace

Result<void> check_foreign(const VmSettings& settings) {
    TRY(host::check_vm_name(settings.name));
    TRY(check_numbers(settings));
    if (static_cast<size_t>(settings.cpu) >= std::size(x86::kCpuModelNames))
        return error("vm.cpu is no CPU model of a VM that runs");
    for (const DiskSettings& disk : settings.disks)
        if (disk.serial.size() > kLongestSerial)
            return error("disk.serial is longer than {} characters", kLongestSerial);
    for (const NetworkSettings& network : settings.networks) {
        TRY(host::check_device_name(network.tap, "TAP device"));
        if (!network.bridge.empty()) TRY(host::check_device_name(network.bridge, "bridge"));
    }
    for (const std::string& text : settings.protection.hosts) TRY(host::SocketAddress::parse(text));
    return check_whole(settings);
}

Result<void> check_whole(const VmSettings& settings) {
    TRY(check_texts(settings));
    TRY(check_disks(settings.disks));
    TRY(check_networks(settings.networks));
    if (settings.command_line.size() > kLongestCommandLine)
        return error("vm.command_line is longer than {} characters; shorten it", kLongestCommandLine);
    return check_protection(settings);
}

}  // namespace lockstep::vmm
