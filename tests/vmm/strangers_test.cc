// SPDX-License-Identifier: Apache-2.0
// Those who reach a host's daemon: what they may have of it, and how little until it knows them.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "host/address.h"
#include "host/files.h"
#include "pair_harness.h"

namespace lockstep::vmm {
namespace {

using testing::Pair;

void sleep_ms(unsigned ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

// The process that takes a backup has root's rights: without this whoever is let in reads and writes every file.
TEST(Strangers, WhatAHostDoesNotAllowIsRefusedOnBothSides) {
    Pair pair;
    std::string secret = pair.folder + "/secret";
    pair.allow("b", fmt::format("folders = [\"{}\", \"/dev/null\"]\n", pair.shared));
    std::ofstream(secret) << std::string(64 * 512, 's');
    std::string config = pair.folder + "/toy.toml";
    std::string text = host::read_text(config).take();
    std::ofstream(config) << text.replace(text.find(pair.shared + "/toy"), pair.shared.size() + 4, secret);
    auto vm = pair.start_vm("a");
    std::string refusal = fmt::format("{} is not in the folders that it allows", secret);
    pair.wait_for("a says what isn't allowed", [&] {
        return pair.status("a").value("no_backup_why", "").find(refusal) != std::string::npos;
    });
    auto said = [&] {
        std::string log = host::read_text(pair.folder + "/log.b").take();
        size_t count = 0;
        for (size_t at = log.find(refusal); at != std::string::npos; at = log.find(refusal, at + 1)) ++count;
        return count;
    };
    pair.wait_for("b says so, too", [&] { return said() > 0; });
    EXPECT_EQ(pair.process("b"), 0);
    sleep_ms(2500);
    EXPECT_EQ(said(), 1u) << "a asks each second";
    // What the operator allows counts at once.
    pair.allow("b", fmt::format("folders = [\"{}\", \"/dev/null\"]\n", pair.folder));
    pair.wait_for_state("a", "Protected");
}

/// Processes that serve connections of this host's daemon, as its address in their arguments tells.
std::vector<pid_t> processes_of(const std::string& address) {
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        std::string arguments;
        std::ifstream file(entry.path() / "cmdline");
        std::getline(file, arguments, '\n');
        bool backup = arguments.find(std::string("backup\0", 7)) != std::string::npos;
        if (backup && arguments.find(address) != std::string::npos)
            found.push_back(std::stoi(entry.path().filename().string()));
    }
    return found;
}

TEST(Strangers, GetFewProcessesAndLeaveRoomForOwners) {
    Pair pair;
    host::SocketAddress address = host::SocketAddress::parse(pair.address("b")).take();
    std::vector<host::FileDescriptor> strangers;
    auto connect = [&] {
        host::FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (::connect(socket.get(), address.get(), address.length) != 0) return false;
        strangers.push_back(std::move(socket));
        return true;
    };
    pair.wait_for("the daemon listens", connect);
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(connect());
    pair.wait_for("some are served", [&] { return processes_of(pair.address("b")).size() == 4; });
    sleep_ms(300);
    EXPECT_EQ(processes_of(pair.address("b")).size(), 4u);
    // More than an introduction may have: refused before it is there.
    uint32_t length = 1 << 20;
    EXPECT_EQ(::send(strangers.front().get(), &length, sizeof length, MSG_NOSIGNAL), 4);
    char byte;
    EXPECT_EQ(::recv(strangers.front().get(), &byte, 1, 0), 0) << "the connection is closed";
    strangers.clear();
    pair.start();
    EXPECT_EQ(processes_of(pair.address("b")).size(), 1u);
}

/// A process that hangs before it has a VM takes none of the few places of its peer for good.
TEST(Strangers, ProcessesThatHangBeforeTheirIntroductionMakeRoom) {
    Pair pair;
    host::SocketAddress address = host::SocketAddress::parse(pair.address("b")).take();
    std::vector<host::FileDescriptor> strangers;
    pair.wait_for("four strangers are served", [&] {
        host::FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (::connect(socket.get(), address.get(), address.length) == 0 && strangers.size() < 4)
            strangers.push_back(std::move(socket));
        return processes_of(pair.address("b")).size() == 4;
    });
    for (pid_t process : processes_of(pair.address("b"))) ::kill(process, SIGSTOP);
    auto vm = pair.start_vm("a");
    pair.wait_for_state("a", "Protected");
}

}  // namespace
}  // namespace lockstep::vmm
