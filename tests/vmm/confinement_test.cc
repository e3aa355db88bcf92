// SPDX-License-Identifier: Apache-2.0
// Pairs whose processes have given up their rights: what is left of them, and that it is enough.
#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "host/identity.h"
#include "pair_harness.h"

namespace lockstep::vmm {
namespace {

using testing::Json;
using testing::Pair;

constexpr unsigned kPatienceMs = 90'000;

/// A line of /proc/PID/status, without its name.
std::string line_of(pid_t process, const std::string& name) {
    std::ifstream status(fmt::format("/proc/{}/status", process));
    for (std::string line; std::getline(status, line);)
        if (line.starts_with(name + ":")) return line.substr(line.find_first_not_of(" \t", name.size() + 1));
    return "";
}

class Confined : public ::testing::Test {
  protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody else";
        nobody_ = ::getpwnam("nobody");
        ASSERT_NE(nobody_, nullptr);
        for (const char* host : {"a", "b"}) configure(host, "user = \"nobody\"\n");
        ::chmod(pair_.folder.c_str(), 0711);
        std::string arbiter = pair_.shared + "/arbiter";
        ASSERT_EQ(::chown(arbiter.c_str(), nobody_->pw_uid, nobody_->pw_gid), 0);
    }
    /// Of the host's VMs that start from now on; its daemon is started anew, as it shares the identity.
    void configure(const std::string& host, const std::string& lines) {
        std::ofstream(pair_.runtime(host) + "/host.toml")
            << "[host]\nrecordings = \"" << pair_.folder << "/recordings\"\n"
            << lines << "[allow]\nfolders = [\"" << pair_.folder << "\", \"/dev/null\"]\n";
        pair_.kill_daemon(host);
        pair_.start_daemon(host, LOCKSTEP_TOY);
        pair_.wait_for("its daemon has begun",
                       [&] { return std::filesystem::exists(pair_.runtime(host) + "/.daemon"); });
    }
    std::string confined(const std::string& host) const {
        return pair_.status(host).value("confined", "nothing");
    }
    void expect_confined(const std::string& host) {
        std::string text = confined(host);
        bool lacks_kernel =
            text.find("kernel") != std::string::npos || text.find("instrumented") != std::string::npos;
        if (!lacks_kernel) {
            EXPECT_EQ(text, "yes") << host;
        }
        pid_t process = pair_.process(host);
        std::string user = std::to_string(nobody_->pw_uid);
        EXPECT_EQ(line_of(process, "Uid"), user + "\t" + user + "\t" + user + "\t" + user) << host;
        EXPECT_EQ(line_of(process, "CapEff"), "0000000000000000") << host;
        EXPECT_EQ(line_of(process, "CapPrm"), "0000000000000000") << host;
        EXPECT_EQ(line_of(process, "NoNewPrivs"), "1") << host;
        if (text.find("instrumented") == std::string::npos) {
            for (const auto& thread :
                 std::filesystem::directory_iterator(fmt::format("/proc/{}/task", process)))
                EXPECT_EQ(line_of(std::stoi(thread.path().filename()), "Seccomp"), "2")
                    << host << " " << thread.path();
        }
    }

    Pair pair_;
    const passwd* nobody_ = nullptr;
};

TEST_F(Confined, APairIsProtectedFailsOverAndIsProtectedAgain) {
    pair_.start();
    expect_confined("a");
    expect_confined("b");
    int line = pair_.checked_lines("a");
    pair_.signal("a", SIGKILL);
    testing::expect_goes_on(pair_, "b", line);
    // The new owner connects anew, which takes the host's key, and claims at the arbiter, which takes its folder.
    pair_.wait_for(
        "it is protected again", [&] { return pair_.state("b") == "Protected"; }, kPatienceMs);
    expect_confined("a");
    EXPECT_TRUE(pair_.act("b", {{"action", "failover"}}).contains("done"));
    pair_.wait_for(
        "it is back", [&] { return pair_.state("a") == "Protected"; }, kPatienceMs);
    EXPECT_TRUE(pair_.act("a", {{"action", "poweroff"}}).contains("done"));
    pair_.wait_for(
        "both have ended", [&] { return pair_.process("a") == 0 && pair_.process("b") == 0; }, kPatienceMs);
    pair_.check_disk();
}

TEST_F(Confined, RunsOnWithRootsRightsWhereTheUserCouldNotServe) {
    std::string arbiter = pair_.shared + "/arbiter";
    ASSERT_EQ(::chown(arbiter.c_str(), 0, 0), 0);
    pair_.start();
    EXPECT_NE(confined("a").find(fmt::format("chown nobody {}", arbiter)), std::string::npos)
        << confined("a");
    EXPECT_EQ(line_of(pair_.process("a"), "Uid").substr(0, 1), "0");
    EXPECT_EQ(line_of(pair_.process("a"), "NoNewPrivs"), "1") << "the rest is done";
}

TEST_F(Confined, OnlyIfItIsWanted) {
    for (const char* host : {"a", "b"}) configure(host, "confine = false\n");
    pair_.start();
    for (const char* host : {"a", "b"}) {
        EXPECT_NE(confined(host).find("confine = false"), std::string::npos) << confined(host);
        EXPECT_EQ(line_of(pair_.process(host), "Seccomp"), "0");
    }
}

TEST_F(Confined, SharesNoMoreOfTheIdentityThanLinksTake) {
    std::string folder = pair_.security_of("a").folder;
    auto mode = [&](const std::string& file) {
        struct stat info {};
        EXPECT_EQ(::stat((folder + file).c_str(), &info), 0) << file;
        return info.st_mode & 0777;
    };
    EXPECT_EQ(mode("/host.key"), 0640u);
    EXPECT_EQ(mode(""), 0750u);
    EXPECT_EQ(mode("/authority.key"), 0600u);
    EXPECT_EQ(mode("/tokens"), 0700u);
}

TEST_F(Confined, ARecordingGoesWhereTheHostWantsIt) {
    std::string folder = pair_.folder + "/recordings";
    std::filesystem::create_directories(folder);
    ASSERT_EQ(::chown(folder.c_str(), nobody_->pw_uid, nobody_->pw_gid), 0);
    pair_.kill_daemon("b");
    auto vm = pair_.start_vm("a");
    pair_.wait_for_state("a", "Solo");
    EXPECT_TRUE(pair_.act("a", {{"action", "unprotect"}}).contains("done"));
    Json refused = pair_.act("a", {{"action", "record-start"}, {"path", pair_.folder + "/elsewhere"}});
    EXPECT_NE(refused.value("error", "").find("recordings"), std::string::npos) << refused;
    EXPECT_TRUE(pair_.act("a", {{"action", "record-start"}, {"path", folder + "/log"}}).contains("done"));
    pair_.wait_for(
        "it is recorded",
        [&] {
            return pair_.act("a", {{"action", "record-stop"}}).contains("done");
        },
        kPatienceMs);
    EXPECT_TRUE(std::filesystem::exists(folder + "/log"));
}

}  // namespace
}  // namespace lockstep::vmm
