#include "control/config_check.h"

#include <set>

#include "host/tap_device.h"

namespace lockstep::control {

namespace {

constexpr size_t kMostDisks = 8;
constexpr size_t kMostNetworks = 4;
constexpr size_t kLongestCommandLine = 2047;

Result<void> check_disks(const std::vector<vmm::DiskSettings>& disks) {
    if (disks.size() > kMostDisks) return error("more than {} disks; remove some", kMostDisks);
    std::set<std::string> paths, serials;
    for (const vmm::DiskSettings& disk : disks) {
        if (!paths.insert(disk.path).second)
            return error("the disk {} is named twice; remove one", disk.path);
        if (!disk.serial.empty() && !serials.insert(disk.serial).second)
            return error("two disks have the serial \"{}\", so the guest can't tell them apart; change one",
                         disk.serial);
    }
    return {};
}

Result<void> check_networks(const std::vector<vmm::NetworkSettings>& networks) {
    if (networks.size() > kMostNetworks) return error("more than {} networks; remove some", kMostNetworks);
    std::set<std::string> taps;
    std::set<std::array<uint8_t, 6>> macs;
    for (const vmm::NetworkSettings& network : networks) {
        if (!taps.insert(network.tap).second)
            return error("the TAP device {} is named twice; rename one", network.tap);
        if (!macs.insert(network.mac).second)
            return error("two networks have the MAC address {}; change one", host::mac_text(network.mac));
    }
    return {};
}

Result<void> check_protection(const vmm::VmSettings& settings) {
    const vmm::ProtectionSettings& protection = settings.protection;
    if (protection.hosts.empty()) return {};
    if (protection.failure_ms < 3 * protection.heartbeat_ms)
        return error(
            "protection.failure_ms ({}) must be at least three times protection.heartbeat_ms ({}), lest one "
            "lost heartbeat looks like a failure; raise the one or lower the other",
            protection.failure_ms, protection.heartbeat_ms);
    for (const vmm::DiskSettings& disk : settings.disks)
        if (!disk.shared && !disk.read_only)
            return error(
                "the disk {} is neither shared nor read_only, so no other host could go on with it; put it "
                "on shared storage and set shared = true, or remove [protection]",
                disk.path);
    return {};
}

}  // namespace

Result<void> check_whole(const vmm::VmSettings& settings) {
    TRY(check_disks(settings.disks));
    TRY(check_networks(settings.networks));
    if (settings.command_line.size() > kLongestCommandLine)
        return error("vm.command_line is longer than {} characters; shorten it", kLongestCommandLine);
    return check_protection(settings);
}

}  // namespace lockstep::control
