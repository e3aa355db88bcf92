// SPDX-License-Identifier: Apache-2.0
// The configuration file: what is read, and the sentence for each mistake.
#include "control/config.h"

#include <gtest/gtest.h>

#include <set>

namespace lockstep::control {
namespace {

constexpr std::string_view kGood = R"([vm]
name = "web"
kernel = "vmlinuz"
initrd = "/boot/initrd"
command_line = "console=ttyS0"
memory = "1 GiB"
cpu = "x86-64-v3"
low_latency = false
autostart = true
restart = "always"
restart_limit = 3

[[disk]]
path = "/shared/web.raw"
serial = "root"
shared = true

[[disk]]
path = "seed.raw"
read_only = true
format = "raw"

[[network]]
tap = "web0"
mac = "52:54:00:00:00:01"
bridge = "br0"
offloads = false

[console]
kind = "pty"
port = "virtio"

[protection]
hosts = ["10.1.0.1:7700", "10.1.0.2:7700"]
arbiter = "/shared/arbiter"
heartbeat_ms = 50
failure_ms = 600
storage_ms = 250
lag_ms = 100
log_buffer = "8 MiB"
hash_ms = 500
copy_rate = "100 MiB"
hand_over_on_link_loss = true

[engine]
code_cache = "64 MiB"
block_limit = 16
chaining = false
jump_cache = false
jump_index = false
dead_flags = false
copied_blocks = false
copied_chains = false
inline_strings = false
inline_system = false
superblocks = false
shared_lookups = false
window = false
perf_map = true
)";

TEST(Config, EveryKeyIsRead) {
    auto parsed = parse_config(kGood, "/etc/lockstep/web.toml");
    ASSERT_TRUE(parsed.ok()) << parsed.error().message();
    const vmm::VmSettings& s = parsed.value();
    EXPECT_EQ(s.name, "web");
    EXPECT_EQ(s.kernel, "/etc/lockstep/vmlinuz") << "a relative path counts from the file's folder";
    EXPECT_EQ(s.initrd, "/boot/initrd");
    EXPECT_EQ(s.command_line, "console=ttyS0");
    EXPECT_EQ(s.memory_bytes, 1ull << 30);
    EXPECT_EQ(s.cpu, vmm::CpuChoice::kV3);
    EXPECT_FALSE(s.low_latency);
    EXPECT_TRUE(s.start.automatic);
    EXPECT_EQ(s.start.restart, vmm::Restart::kAlways);
    EXPECT_EQ(s.start.limit, 3u);
    ASSERT_EQ(s.disks.size(), 2u);
    EXPECT_EQ(s.disks[0].serial, "root");
    EXPECT_EQ(s.disks[0].format, vmm::DiskFormat::kDetect);
    EXPECT_EQ(s.disks[1].format, vmm::DiskFormat::kRaw);
    EXPECT_TRUE(s.disks[0].shared);
    EXPECT_TRUE(s.disks[1].read_only);
    ASSERT_EQ(s.networks.size(), 1u);
    EXPECT_EQ(s.networks[0].tap, "web0");
    EXPECT_EQ(s.networks[0].bridge, "br0");
    EXPECT_EQ(s.networks[0].mac[5], 1);
    EXPECT_FALSE(s.networks[0].offloads);
    EXPECT_EQ(s.console.kind, vmm::ConsoleKind::kPty);
    EXPECT_EQ(s.console.port, vmm::ConsolePort::kVirtio);
    EXPECT_EQ(s.protection.hosts.size(), 2u);
    EXPECT_EQ(s.protection.arbiter, "/shared/arbiter");
    EXPECT_EQ(s.protection.heartbeat_ms, 50u);
    EXPECT_EQ(s.protection.failure_ms, 600u);
    EXPECT_EQ(s.protection.storage_ms, 250u);
    EXPECT_EQ(s.protection.lag_ms, 100u);
    EXPECT_EQ(s.protection.log_buffer, 8u << 20);
    EXPECT_EQ(s.protection.hash_ms, 500u);
    EXPECT_EQ(s.protection.copy_rate, 100u << 20);
    EXPECT_TRUE(s.protection.hand_over_on_link_loss);
    EXPECT_EQ(s.engine.code_cache_bytes, 64u << 20);
    EXPECT_EQ(s.engine.block_limit, 16u);
    EXPECT_FALSE(s.engine.chaining || s.engine.jump_cache || s.engine.jump_index || s.engine.dead_flags ||
                 s.engine.copied_blocks || s.engine.copied_chains || s.engine.inline_system ||
                 s.engine.inline_strings || s.engine.superblocks || s.engine.shared_lookups ||
                 s.engine.window);
    EXPECT_TRUE(s.engine.perf_map);
}

TEST(Config, FirmwareStartsAGuestWithoutAKernel) {
    auto parsed = parse_config("[vm]\nname = \"a\"\nmemory = \"1 GiB\"\n", "a.toml");
    ASSERT_TRUE(parsed.ok()) << parsed.error().message();
    EXPECT_EQ(parsed.value().firmware, vmm::Firmware::kUefi);
    EXPECT_EQ(parse_config(kGood, "web.toml").value().firmware, vmm::Firmware::kNone);
    auto both = parse_config("[vm]\nname = \"a\"\nmemory = \"1 GiB\"\nkernel = \"k\"\nfirmware = \"uefi\"\n",
                             "a.toml");
    ASSERT_FALSE(both.ok());
    EXPECT_NE(both.error().message().find("remove one"), std::string::npos) << both.error().message();
    auto line = parse_config("[vm]\nname = \"a\"\nmemory = \"1 GiB\"\ncommand_line = \"quiet\"\n", "a.toml");
    ASSERT_FALSE(line.ok());
    EXPECT_NE(line.error().message().find("vm.kernel"), std::string::npos) << line.error().message();
}

TEST(Config, TheGoodExampleNamesEveryKeyOfTheTable) {
    for (const ConfigKey& key : config_keys()) {
        if (key.name == "firmware") continue;  // in place of a kernel
        EXPECT_NE(kGood.find(std::string(key.name) + " = "), std::string_view::npos) << key.name;
    }
}

TEST(Config, NoKeyIsListedTwice) {
    std::set<std::pair<std::string_view, std::string_view>> seen;
    for (const ConfigKey& key : config_keys())
        EXPECT_TRUE(seen.insert({key.section, key.name}).second) << key.name;
}

TEST(Config, SettingsSurviveTheWayToTheBackup) {
    vmm::VmSettings settings = parse_config(kGood, "/etc/web.toml").value();
    Bytes bytes = record::encode_fields(settings);
    auto read = record::decode_fields<vmm::VmSettings>(bytes, "settings");
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(record::encode_fields(read.value()), bytes);
    EXPECT_EQ(read.value().networks[0].tap, "web0");
    EXPECT_FALSE(read.value().engine.chaining);
}

/// A change to the good file, and what the sentence about it must hold: its line, its key, the remedy.
struct Mistake {
    const char* name;
    std::string_view replaced;
    std::string_view with;
    std::vector<std::string_view> sentence;
};

void PrintTo(const Mistake& mistake, std::ostream* out) { *out << mistake.name; }

class ConfigMistake : public ::testing::TestWithParam<Mistake> {};

TEST_P(ConfigMistake, GetsOneSentenceWithPlaceKeyAndRemedy) {
    const Mistake& mistake = GetParam();
    std::string text(kGood);
    size_t at = text.find(mistake.replaced);
    ASSERT_NE(at, std::string::npos);
    text.replace(at, mistake.replaced.size(), mistake.with);
    auto parsed = parse_config(text, "web.toml");
    ASSERT_FALSE(parsed.ok());
    std::string sentence = parsed.error().message();
    EXPECT_EQ(sentence.find('\n'), std::string::npos) << sentence;
    for (std::string_view part : mistake.sentence)
        EXPECT_NE(sentence.find(part), std::string::npos) << "\"" << part << "\" in: " << sentence;
}

const Mistake kMistakes[] = {
    {"UnknownSection", "[console]", "[consol]", {"web.toml:29", "consol", "did you mean \"console\""}},
    {"UnknownKey", "kernel = ", "kernal = ", {"web.toml:3", "kernal", "[vm]", "did you mean \"kernel\""}},
    {"StrangeKey", "kernel = ", "zzzzzz = ", {"web.toml:3", "known are", "command_line"}},
    {"MissingKey", "name = \"web\"\n", "", {"web.toml:1", "vm.name is missing", "add it"}},
    {"MissingPath", "path = \"seed.raw\"\n", "", {"disk.path is missing"}},
    {"BadName", "name = \"web\"", "name = \"../web\"", {"web.toml:2", "vm.name", "letters"}},
    {"EmptyText", "name = \"web\"", "name = \"\"", {"web.toml:2", "vm.name is empty"}},
    {"NumberForText", "name = \"web\"", "name = 7", {"web.toml:2", "vm.name is 7", "quotes"}},
    {"TextForFlag", "shared = true", "shared = \"yes\"", {"web.toml:16", "disk.shared", "true or false"}},
    {"UnknownCpu", "cpu = \"x86-64-v3\"", "cpu = \"x86-64-v4\"", {"web.toml:7", "vm.cpu", "x86-64-v3"}},
    {"TextForNumber",
     "block_limit = 16",
     "block_limit = \"16\"",
     {"block_limit", "whole number from 1 to 4096"}},
    {"NumberTooGreat", "block_limit = 16", "block_limit = 100000", {"100000", "from 1 to 4096"}},
    {"NegativeNumber", "lag_ms = 100", "lag_ms = -1", {"protection.lag_ms is -1"}},
    {"BadSize", "memory = \"1 GiB\"", "memory = \"1 GB\"", {"web.toml:6", "vm.memory", "512 MiB"}},
    {"SmallMemory", "memory = \"1 GiB\"", "memory = \"1 MiB\"", {"vm.memory", "64 MiB"}},
    {"OddMemory", "memory = \"1 GiB\"", "memory = \"65 MiB\"", {"multiple of 2 MiB"}},
    {"LongSerial",
     "serial = \"root\"",
     "serial = \"123456789012345678901\"",
     {"disk.serial", "20 characters"}},
    {"LongTap", "tap = \"web0\"", "tap = \"a-name-far-too-long\"", {"network.tap", "15 characters"}},
    {"BadMac", "mac = \"52:54:00:00:00:01\"", "mac = \"52:54\"", {"network.mac", "MAC address"}},
    {"GroupMac", "mac = \"52:", "mac = \"53:", {"network.mac", "group address"}},
    {"NobodysMac",
     "mac = \"52:54:00:00:00:01\"",
     "mac = \"00:00:00:00:00:00\"",
     {"network.mac", "stands for none"}},
    {"SameMac",
     "[console]",
     "[[network]]\ntap = \"web1\"\nmac = \"52:54:00:00:00:01\"\n[console]",
     {"52:54:00:00:00:01", "change one"}},
    {"SameTap",
     "[console]",
     "[[network]]\ntap = \"web0\"\nmac = \"52:54:00:00:00:02\"\n[console]",
     {"web0", "rename one"}},
    {"TapWithSlash", "tap = \"web0\"", "tap = \"web/0\"", {"network.tap", "web/0", "TAP device"}},
    {"LongBridge",
     "bridge = \"br0\"",
     "bridge = \"a-bridge-far-too-long\"",
     {"network.bridge", "15 characters"}},
    {"BadConsole", "kind = \"pty\"", "kind = \"ptty\"", {"console.kind", "did you mean \"pty\""}},
    {"HostWithoutPort", "\"10.1.0.2:7700\"", "\"10.1.0.2\"", {"protection.hosts", "10.1.0.2", "port"}},
    {"HostsNoList",
     "hosts = [\"10.1.0.1:7700\", \"10.1.0.2:7700\"]",
     "hosts = \"10.1.0.1:7700\"",
     {"hosts", "list"}},
    {"NoHosts",
     "hosts = [\"10.1.0.1:7700\", \"10.1.0.2:7700\"]",
     "hosts = []",
     {"protection.hosts is empty", "name"}},
    {"SameHost", "\"10.1.0.2:7700\"", "\"10.1.0.1:7700\"", {"protection.hosts", "10.1.0.1:7700 twice"}},
    {"UnknownHost", "\"10.1.0.2:7700\"", "\"no..such..host:7700\"", {"no..such..host", "check the name"}},
    {"AnyHost", "\"10.1.0.2:7700\"", "\":7700\"", {"protection.hosts", "leads to no host"}},
    {"NoPort", "\"10.1.0.2:7700\"", "\"10.1.0.2:0\"", {"protection.hosts", "10.1.0.2:0"}},
    {"GreatPort", "\"10.1.0.2:7700\"", "\"10.1.0.2:99999\"", {"protection.hosts", "99999"}},
    {"ShortBound", "failure_ms = 600", "failure_ms = 100", {"failure_ms (100)", "three times"}},
    {"PrivateDisk", "shared = true", "shared = false", {"/shared/web.raw", "shared = true"}},
    {"SameDisk", "path = \"seed.raw\"", "path = \"/shared/web.raw\"", {"named twice"}},
    {"SameDiskByAnotherPath", "path = \"seed.raw\"", "path = \"/shared/../shared/web.raw\"", {"named twice"}},
    {"SameSerial",
     "path = \"seed.raw\"",
     "path = \"seed.raw\"\nserial = \"root\"",
     {"serial \"root\"", "change one"}},
    {"OneDisk", "[[disk]]\npath = \"seed", "[disk]\npath = \"seed", {"web.toml"}},
    {"NoToml", "[vm]", "[vm", {"web.toml:1", "isn't TOML"}},
};

INSTANTIATE_TEST_SUITE_P(All, ConfigMistake, ::testing::ValuesIn(kMistakes),
                         [](const auto& tested) { return tested.param.name; });

TEST(Config, AMissingFileIsNamed) {
    auto loaded = load_config("/nowhere/web.toml");
    ASSERT_FALSE(loaded.ok());
    EXPECT_NE(loaded.error().message().find("/nowhere/web.toml"), std::string::npos);
}

TEST(Config, Sizes) {
    EXPECT_EQ(parse_size("512 MiB").value(), 512ull << 20);
    EXPECT_EQ(parse_size("2GiB").value(), 2ull << 30);
    EXPECT_EQ(parse_size("4096").value(), 4096u);
    for (const char* bad : {"", "MiB", "1 GB", "-1", "1.5 GiB", "99999999999999999999", "99999999999 TiB"})
        EXPECT_FALSE(parse_size(bad).ok()) << bad;
}

TEST(Config, NearestWord) {
    constexpr std::string_view kWords[] = {"kernel", "initrd", "memory"};
    EXPECT_EQ(nearest_word("kernle", kWords), "kernel");
    EXPECT_EQ(nearest_word("memroy", kWords), "memory");
    EXPECT_EQ(nearest_word("something", kWords), "");
}

}  // namespace
}  // namespace lockstep::control
