// SPDX-License-Identifier: Apache-2.0
// What a peer may name: every kind of path and name that a VM's settings have, from within and from outside.
#include "vmm/allowances.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "base/foreign_text.h"
#include "control/host_config.h"
#include "vmm/complaints.h"

namespace lockstep::vmm {
namespace {

class AllowancesTest : public ::testing::Test {
  protected:
    AllowancesTest() {
        char name[] = "/tmp/lockstep-allow-XXXXXX";
        folder_ = ::mkdtemp(name);
        std::filesystem::create_directories(folder_ + "/pool/inner");
        std::filesystem::create_directories(folder_ + "/pool-of-others");
        for (const char* file : {"/pool/web.raw", "/pool/inner/db.raw", "/pool-of-others/raw", "/secret"})
            std::ofstream(folder_ + file) << "x";
        std::filesystem::create_symlink(folder_ + "/secret", folder_ + "/pool/out");
        std::filesystem::create_symlink("../..", folder_ + "/pool/inner/up");
        std::filesystem::create_symlink("inner/db.raw", folder_ + "/pool/within");
        std::filesystem::create_symlink(folder_ + "/pool", folder_ + "/other-name");
        allowances_ = {.folders = {folder_ + "/pool", folder_ + "/gone"},
                       .bridges = {"br0"},
                       .taps = {"web*", "db0"},
                       .file = "/etc/lockstep/host.toml"};
    }
    ~AllowancesTest() override { std::filesystem::remove_all(folder_); }

    VmSettings good() const {
        VmSettings settings;
        settings.kernel = folder_ + "/pool/vmlinuz";  // a backup never opens it, and needs none
        settings.protection.arbiter = folder_ + "/pool/arbiter";
        settings.disks.emplace_back().path = folder_ + "/pool/web.raw";
        settings.networks.emplace_back().tap = "web3";
        settings.networks[0].bridge = "br0";
        return settings;
    }
    void expect_refusal(const std::string& part, const std::function<void(VmSettings&)>& change) const {
        VmSettings settings = good();
        change(settings);
        Result<void> checked = check_allowances(settings, allowances_);
        ASSERT_FALSE(checked.ok()) << part;
        EXPECT_NE(checked.error().message().find(part), std::string::npos) << checked.error().message();
        EXPECT_NE(checked.error().message().find("/etc/lockstep/host.toml"), std::string::npos);
    }

    std::string folder_;
    Allowances allowances_;
};

TEST_F(AllowancesTest, WhatLiesWithinIsAllowed) {
    EXPECT_TRUE(check_allowances(good(), allowances_).ok());
    for (const char* path : {"/pool/inner/db.raw", "/pool/within", "/other-name/web.raw", "/pool/new"}) {
        VmSettings settings = good();
        settings.disks[0].path = folder_ + path;
        EXPECT_TRUE(check_allowances(settings, allowances_).ok()) << path;
    }
    VmSettings settings = good();
    settings.networks[0].tap = "db0";
    settings.networks[0].bridge.clear();
    EXPECT_TRUE(check_allowances(settings, allowances_).ok());
}

TEST_F(AllowancesTest, WhatLeadsOutIsRefused) {
    for (const char* path : {"/secret", "/pool-of-others/raw", "/pool/out", "/pool/../secret",
                             "/pool/inner/../web.raw", "/pool/inner/up/secret", "/gone/x"}) {
        std::string whole = folder_ + path;
        expect_refusal(whole, [&](VmSettings& s) { s.disks[0].path = whole; });
        expect_refusal(whole, [&](VmSettings& s) { s.kernel = whole; });
        expect_refusal(whole, [&](VmSettings& s) { s.initrd = whole; });
        expect_refusal(whole, [&](VmSettings& s) { s.protection.arbiter = whole; });
    }
    expect_refusal("disk.path: web.raw", [](VmSettings& s) { s.disks[0].path = "web.raw"; });
    expect_refusal("/etc/shadow", [](VmSettings& s) { s.disks.emplace_back().path = "/etc/shadow"; });
}

/// Of what a host says only the beginning is shown on the other one.
TEST_F(AllowancesTest, TheRemedyIsNotCutOffByALongPath) {
    VmSettings settings = good();
    settings.disks[0].path = "/" + std::string(500, 'x');
    std::string shown =
        foreign_text("the host [2001:db8:aaaa:bbbb::1]:7700 can't take the backup of VM web: " +
                     check_allowances(settings, allowances_).error().message());
    EXPECT_NE(shown.find("allow.folders in its /etc/lockstep/host.toml"), std::string::npos) << shown;
    EXPECT_NE(shown.find("disk.path"), std::string::npos) << shown;
}

TEST_F(AllowancesTest, NamesThatAreNotListedAreRefused) {
    expect_refusal("TAP device tun0", [](VmSettings& s) { s.networks[0].tap = "tun0"; });
    expect_refusal("TAP device db01", [](VmSettings& s) { s.networks[0].tap = "db01"; });
    expect_refusal("bridge br1", [](VmSettings& s) { s.networks[0].bridge = "br1"; });
    expect_refusal("allow.bridges", [](VmSettings& s) { s.networks[0].bridge = "br"; });
}

/// A link that was turned after the path had been looked at.
TEST_F(AllowancesTest, WhatWasOpenedCountsNotWhatWasNamed) {
    int within = ::open((folder_ + "/other-name/web.raw").c_str(), O_RDONLY | O_CLOEXEC);
    int outside = ::open((folder_ + "/pool/out").c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_TRUE(host::check_opened(within, "x", allowances_.folders).ok());
    EXPECT_FALSE(host::check_opened(outside, folder_ + "/pool/out", allowances_.folders).ok());
    ::close(within);
    ::close(outside);
}

TEST_F(AllowancesTest, ADeviceMayBeNamedByItself) {
    allowances_.folders = {"/dev/zero"};
    EXPECT_TRUE(host::check_allowed("/dev/zero", allowances_.folders).ok());
    EXPECT_FALSE(host::check_allowed("/dev/null", allowances_.folders).ok());
}

TEST(HostConfig, IsReadAndItsMistakesAreNamed) {
    auto read = control::parse_host_config(
        "[host]\nlisten = \"10.1.0.1:7700\"\n[api]\nlisten = \"10.1.0.1:7780\"\n[allow]\nfolders = "
        "[\"/shared\"]\nbridges = [\"br0\"]\ntaps = "
        "[\"web*\"]\n",
        "host.toml");
    ASSERT_TRUE(read.ok()) << read.error().message();
    EXPECT_EQ(read.value().listen, "10.1.0.1:7700");
    EXPECT_EQ(read.value().api_listen, "10.1.0.1:7780");
    EXPECT_EQ(read.value().allowances.folders, host::AllowedPaths{"/shared"});
    EXPECT_EQ(read.value().allowances.bridges, std::vector<std::string>{"br0"});
    EXPECT_EQ(read.value().allowances.taps, std::vector<std::string>{"web*"});
    auto nothing = control::parse_host_config("", "host.toml");
    ASSERT_TRUE(nothing.ok());
    EXPECT_EQ(nothing.value().allowances.folders, host::AllowedPaths{"/var/lib/lockstep"});
    EXPECT_TRUE(nothing.value().allowances.bridges.empty() && nothing.value().allowances.taps.empty());
    for (auto [text, part] : {std::pair{"[alow]\n", "host.toml:1: unknown section \"alow\""},
                              {"[host]\nlisten = \"10.1.0.1\"\n", "host.toml:2: host.listen"},
                              {"[api]\nlisten = \"host-a\"\n", "host.toml:2: api.listen"},
                              {"[allow]\nfolder = [\"/a\"]\n", "host.toml:2: allow.folder"},
                              {"[allow]\nfolders = \"/a\"\n", "must be a list"},
                              {"[allow]\nfolders = [\"a\"]\n", "must be an absolute path"},
                              {"[allow\n", "isn't TOML"}}) {
        auto bad = control::parse_host_config(text, "host.toml");
        ASSERT_FALSE(bad.ok()) << text;
        EXPECT_NE(bad.error().message().find(part), std::string::npos) << bad.error().message();
    }
}

TEST(Complaints, AreSaidOnceInAWhileAndFewInAll) {
    Complaints complaints;
    EXPECT_EQ(complaints.hear("one", 0), "one");
    EXPECT_FALSE(complaints.hear("one", Complaints::kPauseNs - 1));
    EXPECT_EQ(complaints.hear("one", Complaints::kPauseNs), "one") << "it is still so";
    size_t said = 0;
    for (int i = 0; i < 1000; ++i)
        said += complaints.hear(std::to_string(i), Complaints::kPauseNs).has_value();
    EXPECT_EQ(said, Complaints::kMost) << "the last says that the rest is left out";
    EXPECT_TRUE(complaints.hear("two", 2 * Complaints::kPauseNs));
}

}  // namespace
}  // namespace lockstep::vmm
