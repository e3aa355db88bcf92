// SPDX-License-Identifier: Apache-2.0
#include "control/config.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "control/config_value.h"
#include "host/address.h"
#include "host/files.h"
#include "host/runtime_folder.h"
#include "host/tap_device.h"
#include "vmm/settings_check.h"

namespace lockstep::control {

namespace {

using vmm::VmSettings;
using Setter = Result<void> (*)(const ConfigValue& value, VmSettings& settings);

enum class Need : uint8_t { kOptional, kRequired };

struct Row {
    std::string_view section;
    std::string_view name;
    std::string_view kind;
    std::string_view meaning;
    Need need;
    Setter set;
};

constexpr uint64_t kMiB = 1ull << 20;
constexpr uint64_t kGiB = 1ull << 30;
constexpr std::string_view kConsoleKinds[] = {"socket", "pty", "terminal", "none"};  // as vmm::ConsoleKind
constexpr std::string_view kCpuModels[] = {"x86-64-v2", "x86-64-v3", "best"};        // as vmm::CpuChoice
constexpr std::string_view kDiskFormats[] = {"detect", "raw"};                       // as vmm::DiskFormat
constexpr std::string_view kRestarts[] = {"on-failure", "always", "never"};          // as vmm::Restart
constexpr std::string_view kConsolePorts[] = {"serial", "virtio"};                   // as vmm::ConsolePort

// A setter that stores what an expression of `v` (the ConfigValue) yields in a field of `s` (the VmSettings).
#define LOCKSTEP_SET(field, expression)                                        \
    [](const ConfigValue& v, [[maybe_unused]] VmSettings& s) -> Result<void> { \
        s.field = static_cast<decltype(s.field)>(TRY(v.expression));           \
        return {};                                                             \
    }

Result<void> set_name(const ConfigValue& value, VmSettings& settings) {
    settings.name = TRY(value.text());
    return value.checked(host::check_vm_name(settings.name));
}

Result<void> set_firmware(const ConfigValue& value, VmSettings& settings) {
    constexpr std::string_view kFirmwares[] = {"uefi"};
    TRY(value.word(kFirmwares));
    settings.firmware = vmm::Firmware::kUefi;
    return {};
}

Result<void> set_memory(const ConfigValue& value, VmSettings& settings) {
    settings.memory_bytes = TRY(value.size(vmm::kMemoryBytes));
    if (settings.memory_bytes % vmm::kMemoryStep)
        return value.bad("must be a multiple of 2 MiB; round it up");
    return {};
}

Result<void> set_serial(const ConfigValue& value, VmSettings& settings) {
    std::string serial = TRY(value.text());
    if (serial.size() > vmm::kLongestSerial) return value.bad("is longer than 20 characters; shorten it");
    settings.disks.back().serial = serial;
    return {};
}

Result<void> set_tap(const ConfigValue& value, VmSettings& settings) {
    settings.networks.back().tap = TRY(value.text());
    return value.checked(host::check_device_name(settings.networks.back().tap, "TAP device"));
}

Result<void> set_bridge(const ConfigValue& value, VmSettings& settings) {
    settings.networks.back().bridge = TRY(value.text());
    return value.checked(host::check_device_name(settings.networks.back().bridge, "bridge"));
}

Result<void> set_mac(const ConfigValue& value, VmSettings& settings) {
    Result<host::MacAddress> mac = host::parse_mac(TRY(value.text()));
    if (mac) settings.networks.back().mac = mac.value();
    return value.checked(mac);
}

Result<void> set_hosts(const ConfigValue& value, VmSettings& settings) {
    settings.protection.hosts = TRY(value.texts());
    if (settings.protection.hosts.empty())
        return value.bad(
            "is empty; name the daemon of each host, as in [\"10.1.0.1:7700\", \"10.1.0.2:7700\"]");
    std::set<std::string> seen;
    for (const std::string& text : settings.protection.hosts) {
        Result<host::SocketAddress> address = host::SocketAddress::parse(text);
        TRY(value.checked(address));
        if (address.value().is_any() || address.value().port() == 0)
            return value.bad(
                fmt::format("holds \"{}\", which leads to no host; write address and port of its "
                            "daemon, as in \"10.1.0.1:7700\"",
                            text));
        if (!seen.insert(address.value().text()).second)
            return value.bad(fmt::format("names {} twice; remove one", text));
    }
    return {};
}

// clang-format off
constexpr Row kRows[] = {
    {"vm", "name", "text", "the VM's name, the same on all its hosts", Need::kRequired, set_name},
    {"vm", "kernel", "path", "the kernel, a bzImage, to be started directly", Need::kOptional, LOCKSTEP_SET(kernel, path())},
    {"vm", "firmware", "uefi", "what starts the guest from its disks (uefi, where there is no kernel)", Need::kOptional, set_firmware},
    {"vm", "initrd", "path", "the initial RAM disk", Need::kOptional, LOCKSTEP_SET(initrd, path())},
    {"vm", "command_line", "text", "the kernel's command line", Need::kOptional, LOCKSTEP_SET(command_line, text())},
    {"vm", "memory", "size", "the guest's memory, a multiple of 2 MiB", Need::kRequired, set_memory},
    {"vm", "cpu", "x86-64-v2, x86-64-v3 or best", "the guest's CPU model; best: of those that the host has (x86-64-v2)", Need::kOptional, LOCKSTEP_SET(cpu, word(kCpuModels))},
    {"vm", "low_latency", "true or false", "the host's processors stay awake while the guest has traffic (true)", Need::kOptional, LOCKSTEP_SET(low_latency, flag())},
    {"vm", "autostart", "true or false", "the daemon of this host starts it with the host (false)", Need::kOptional, LOCKSTEP_SET(start.automatic, flag())},
    {"vm", "restart", "on-failure, always or never", "when the daemon starts it again (on-failure)", Need::kOptional, LOCKSTEP_SET(start.restart, word(kRestarts))},
    {"vm", "restart_limit", "number", "how often at most in ten minutes (5)", Need::kOptional, LOCKSTEP_SET(start.limit, number(vmm::kRestartLimit))},
    {"disk", "path", "path", "a raw image", Need::kRequired, LOCKSTEP_SET(disks.back().path, path())},
    {"disk", "serial", "text", "a serial number for the guest, at most 20 characters", Need::kOptional, set_serial},
    {"disk", "read_only", "true or false", "the guest can't write to it (false)", Need::kOptional, LOCKSTEP_SET(disks.back().read_only, flag())},
    {"disk", "shared", "true or false", "the image is on storage that all hosts of the VM share (false)", Need::kOptional, LOCKSTEP_SET(disks.back().shared, flag())},
    {"disk", "format", "detect or raw", "raw: take it as it is, even if it looks like a container, which is refused (detect)", Need::kOptional, LOCKSTEP_SET(disks.back().format, word(kDiskFormats))},
    {"network", "tap", "text", "the TAP device of the host, made where it doesn't exist", Need::kRequired, set_tap},
    {"network", "mac", "MAC address", "the guest's address", Need::kRequired, set_mac},
    {"network", "bridge", "text", "the bridge that the TAP device joins", Need::kOptional, set_bridge},
    {"network", "offloads", "true or false", "the guest may send and receive large packets and leave checksums to others (true)", Need::kOptional, LOCKSTEP_SET(networks.back().offloads, flag())},
    {"console", "kind", "socket, pty, terminal or none", "where the console is (socket)", Need::kOptional, LOCKSTEP_SET(console.kind, word(kConsoleKinds))},
    {"console", "port", "serial or virtio", "which port of the guest it is joined to (serial)", Need::kOptional, LOCKSTEP_SET(console.port, word(kConsolePorts))},
    {"protection", "hosts", "list of \"address:port\"", "the host daemons that may run the VM, this host's included", Need::kRequired, set_hosts},
    {"protection", "arbiter", "path", "a folder on storage that all those hosts share", Need::kRequired, LOCKSTEP_SET(protection.arbiter, path())},
    {"protection", "heartbeat_ms", "number", "time between two heartbeats (70)", Need::kOptional, LOCKSTEP_SET(protection.heartbeat_ms, number(vmm::kHeartbeatMs))},
    {"protection", "failure_ms", "number", "silence after which the other side has failed (350)", Need::kOptional, LOCKSTEP_SET(protection.failure_ms, number(vmm::kFailureMs))},
    {"protection", "storage_ms", "number", "how long a write may take to reach the storage (300)", Need::kOptional, LOCKSTEP_SET(protection.storage_ms, number(vmm::kStorageMs))},
    {"protection", "lag_ms", "number", "execution lag from which the primary is slowed (200)", Need::kOptional, LOCKSTEP_SET(protection.lag_ms, number(vmm::kLagMs))},
    {"protection", "log_buffer", "size", "log that may be on the way before the primary stops (64 MiB)", Need::kOptional, LOCKSTEP_SET(protection.log_buffer, size(vmm::kLogBufferBytes))},
    {"protection", "hash_ms", "number", "time between two comparisons of the sides' states (1000)", Need::kOptional, LOCKSTEP_SET(protection.hash_ms, number(vmm::kHashMs))},
    {"protection", "copy_rate", "size", "bytes a second at most of a new backup's copy (as the link takes them)", Need::kOptional, LOCKSTEP_SET(protection.copy_rate, size(vmm::kCopyRate))},
    {"protection", "hand_over_on_link_loss", "true or false", "hand the guest over when its networks lead nowhere here, but do on the other host (false)", Need::kOptional, LOCKSTEP_SET(protection.hand_over_on_link_loss, flag())},
    {"engine", "code_cache", "size", "memory for translated code (128 MiB)", Need::kOptional, LOCKSTEP_SET(engine.code_cache_bytes, size(vmm::kCodeCacheBytes))},
    {"engine", "block_limit", "number", "guest instructions in a translated block at most (64)", Need::kOptional, LOCKSTEP_SET(engine.block_limit, number(vmm::kBlockLimit))},
    {"engine", "chaining", "true or false", "blocks jump straight to their successors (true)", Need::kOptional, LOCKSTEP_SET(engine.chaining, flag())},
    {"engine", "jump_cache", "true or false", "indirect jumps find their block without the dispatcher (true)", Need::kOptional, LOCKSTEP_SET(engine.jump_cache, flag())},
    {"engine", "jump_index", "true or false", "and again after a flush of the TLB (true)", Need::kOptional, LOCKSTEP_SET(engine.jump_index, flag())},
    {"engine", "dead_flags", "true or false", "flags overwritten unread are not computed (true)", Need::kOptional, LOCKSTEP_SET(engine.dead_flags, flag())},
    {"engine", "copied_blocks", "true or false", "code mapped at another address is copied, not translated again (true)", Need::kOptional, LOCKSTEP_SET(engine.copied_blocks, flag())},
    {"engine", "copied_chains", "true or false", "and with it what its chains lead to (true)", Need::kOptional, LOCKSTEP_SET(engine.copied_chains, flag())},
    {"engine", "superblocks", "true or false", "blocks go on behind branches that are not taken (true)", Need::kOptional, LOCKSTEP_SET(engine.superblocks, flag())},
    {"engine", "shared_lookups", "true or false", "accesses by the same registers share one look-up (true)", Need::kOptional, LOCKSTEP_SET(engine.shared_lookups, flag())},
    {"engine", "inline_system", "true or false", "common system instructions are translated (true)", Need::kOptional, LOCKSTEP_SET(engine.inline_system, flag())},
    {"engine", "inline_strings", "true or false", "string instructions within a page are translated (true)", Need::kOptional, LOCKSTEP_SET(engine.inline_strings, flag())},
    {"engine", "window", "true or false", "the program that runs most uses the host's MMU (true)", Need::kOptional, LOCKSTEP_SET(engine.window, flag())},
    {"engine", "perf_map", "true or false", "list translated code in /tmp/perf-PID.map for profiles (false)", Need::kOptional, LOCKSTEP_SET(engine.perf_map, flag())},
};
// clang-format on
#undef LOCKSTEP_SET

constexpr std::string_view kSections[] = {"vm", "disk", "network", "console", "protection", "engine"};

bool is_repeated(std::string_view section) { return section == "disk" || section == "network"; }

std::vector<std::string_view> names_of(std::string_view section) {
    std::vector<std::string_view> names;
    for (const Row& row : kRows)
        if (row.section == section) names.push_back(row.name);
    return names;
}

const Row* find_row(std::string_view section, std::string_view name) {
    for (const Row& row : kRows)
        if (row.section == section && row.name == name) return &row;
    return nullptr;
}

std::string suggestion(std::string_view word, std::span<const std::string_view> known) {
    std::string near = nearest_word(word, known);
    if (!near.empty()) return fmt::format("did you mean \"{}\"?", near);
    std::string all;
    for (std::string_view name : known) all += fmt::format("{}{}", all.empty() ? "" : ", ", name);
    return fmt::format("known are {}", all);
}

class Parser {
  public:
    Parser(const toml::table& root, std::string file) : root_(root), file_(std::move(file)) {}

    Result<VmSettings> parse() {
        for (auto&& [key, node] : root_) TRY(section(key.str(), node));
        if (!root_.contains("vm")) return error("{}: the section [vm] is missing; add it", file_);
        if (settings_.kernel.empty()) settings_.firmware = vmm::Firmware::kUefi;
        if (Result<void> sound = vmm::check_whole(settings_); !sound)
            return error("{}: {}", file_, sound.error().message());
        return std::move(settings_);
    }

  private:
    Result<void> section(std::string_view name, const toml::node& node) {
        if (std::ranges::find(kSections, name) == std::end(kSections))
            return error("{}: unknown section \"{}\"; {}", place_of(file_, node), name,
                         suggestion(name, kSections));
        if (!is_repeated(name)) {
            const toml::table* table = node.as_table();
            if (!table)
                return error("{}: {} must be a section; write [{}]", place_of(file_, node), name, name);
            return keys(name, *table);
        }
        const toml::array* list = node.as_array();
        if (!list)
            return error("{}: {} is a list of sections; write [[{}]]", place_of(file_, node), name, name);
        for (const toml::node& element : *list) {
            const toml::table* table = element.as_table();
            if (!table)
                return error("{}: {} is a list of sections; write [[{}]]", place_of(file_, element), name,
                             name);
            if (name == "disk") settings_.disks.emplace_back();
            if (name == "network") settings_.networks.emplace_back();
            TRY(keys(name, *table));
        }
        return {};
    }

    Result<void> keys(std::string_view section, const toml::table& table) {
        for (auto&& [key, node] : table) {
            const Row* row = find_row(section, key.str());
            if (!row)
                return error("{}: unknown key \"{}\" in [{}]; {}", place_of(file_, node), key.str(), section,
                             suggestion(key.str(), names_of(section)));
            TRY(row->set(ConfigValue(node, file_, fmt::format("{}.{}", section, key.str())), settings_));
        }
        for (const Row& row : kRows)
            if (row.section == section && row.need == Need::kRequired && !table.contains(row.name))
                return error("{}: {}.{} is missing; add it ({})", place_of(file_, table), section, row.name,
                             row.meaning);
        return {};
    }

    const toml::table& root_;
    std::string file_;
    VmSettings settings_;
};

unsigned edit_distance(std::string_view a, std::string_view b) {
    std::vector<unsigned> row(b.size() + 1);
    for (unsigned j = 0; j <= b.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= a.size(); ++i) {
        unsigned diagonal = std::exchange(row[0], static_cast<unsigned>(i));
        for (size_t j = 1; j <= b.size(); ++j) {
            unsigned change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = std::exchange(row[j], std::min({change, row[j] + 1, row[j - 1] + 1}));
        }
    }
    return row[b.size()];
}

}  // namespace

std::string nearest_word(std::string_view word, std::span<const std::string_view> candidates) {
    std::string_view best;
    unsigned best_distance = std::max<unsigned>(2, static_cast<unsigned>(word.size() / 3)) + 1;
    for (std::string_view candidate : candidates) {
        unsigned distance = edit_distance(word, candidate);
        if (distance < best_distance) best = candidate, best_distance = distance;
    }
    return std::string(best);
}

Result<uint64_t> parse_size(std::string_view text) {
    static constexpr std::pair<std::string_view, uint64_t> kUnits[] = {
        {"", 1}, {"KiB", 1ull << 10}, {"MiB", kMiB}, {"GiB", kGiB}, {"TiB", 1ull << 40}};
    uint64_t number = 0;
    auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (problem == std::errc()) {
        std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
        while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
        for (auto [name, bytes] : kUnits)
            if (unit == name && number <= ~uint64_t{0} / bytes) return number * bytes;
    }
    return error("a size is a whole number and KiB, MiB or GiB, as in \"512 MiB\"");
}

std::span<const ConfigKey> config_keys() {
    static const std::vector<ConfigKey> kKeys = [] {
        std::vector<ConfigKey> keys;
        for (const Row& row : kRows)
            keys.push_back({row.section, row.name, row.kind, row.meaning, row.need == Need::kRequired});
        return keys;
    }();
    return kKeys;
}

Result<VmSettings> parse_config(std::string_view text, const std::string& file) {
    toml::table root = TRY(parse_toml(text, file));
    return Parser(root, file).parse();
}

std::string vm_folder() { return host::config_folder() + "/vms"; }

std::string find_config(const std::string& name) {
    if (std::filesystem::exists(name) || name.find('/') != std::string::npos) return name;
    for (const std::string& folder : {host::config_folder(), vm_folder()})
        if (std::string known = folder + "/" + name + ".toml"; std::filesystem::exists(known)) return known;
    return name;
}

Result<VmSettings> load_config(const std::string& path) {
    return parse_config(TRY(host::read_text(path)), path);
}

}  // namespace lockstep::control
