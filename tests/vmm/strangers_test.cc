// SPDX-License-Identifier: Apache-2.0
// Those who reach a host's daemon: what they may have of it, and how little until it knows them.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "host/address.h"
#include "host/authority_folder.h"
#include "host/clock.h"
#include "host/files.h"
#include "pair_harness.h"
#include "vmm/backup_seeker.h"
#include "vmm/cluster_messages.h"

namespace lockstep::vmm {
namespace {

using testing::Pair;
using testing::sleep_ms;

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
    std::string refusal = fmt::format("{} isn't in the folders allowed", secret);
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
    Pair pair(false, testing::Storage::kOneCache, Security::kInsecure);
    host::SocketAddress address = host::SocketAddress::parse(pair.address("b")).take();
    std::vector<host::FileDescriptor> strangers;
    auto connect = [&] {
        host::FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (::connect(socket.get(), address.get(), address.length) != 0) return false;
        EXPECT_EQ(::send(socket.get(), "", 1, MSG_NOSIGNAL), 1);
        strangers.push_back(std::move(socket));
        return true;
    };
    pair.wait_for("the daemon listens", connect);
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(connect());
    pair.wait_for("some are served", [&] { return processes_of(pair.address("b")).size() == 4; });
    sleep_ms(300);
    EXPECT_EQ(processes_of(pair.address("b")).size(), 4u);
    strangers.clear();
    pair.wait_for("their processes end", [&] { return processes_of(pair.address("b")).empty(); });
    // More than an introduction may have: refused before it is there.
    ASSERT_TRUE(connect());
    uint32_t length = 1 << 20;
    EXPECT_EQ(::send(strangers.front().get(), &length, sizeof length, MSG_NOSIGNAL), 4);
    char byte;
    EXPECT_LE(::recv(strangers.front().get(), &byte, 1, 0), 0) << "the connection is closed";
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
        bool connected = ::connect(socket.get(), address.get(), address.length) == 0;
        if (connected && strangers.size() < 4 && ::send(socket.get(), "\x16", 1, MSG_NOSIGNAL) == 1)
            strangers.push_back(std::move(socket));
        return processes_of(pair.address("b")).size() == 4;
    });
    for (pid_t process : processes_of(pair.address("b"))) ::kill(process, SIGSTOP);
    auto vm = pair.start_vm("a");
    pair.wait_for_state("a", "Protected");
}

/// Gives a host another certificate of its cluster.
void set_certificate(const Pair& pair, const std::string& host, host::Validity validity) {
    std::string folder = pair.security_of(host).folder, authority = pair.security_of("a").folder;
    host::Identity identity = host::load_identity(folder).take();
    Bytes key = host::read_file(authority + "/authority.key").take();
    host::Authority signs{host::read_private_key(key, "the key").take(), std::move(identity.authority)};
    host::Certificate own = host::sign_host(signs, *identity.key, identity.name(), validity).take();
    EXPECT_TRUE(host::write_file_atomically(folder + "/host.crt", host::pem_of(*own)).ok());
}

/// What host B answers to who asks whether a VM runs there.
std::string answer_to(const Pair& pair, const LinkSecurity& asker) {
    auto loop = host::EventLoop::create().take();
    Introduction question;
    question.vm_name = "toy";
    std::string sentence = "accepted";
    Greeting greeting(*loop, pair.address("b"), asker, question, 5'000'000'000,
                      [&](Result<std::unique_ptr<PairLink>> link, const Answer&) {
                          if (!link) sentence = link.error().message();
                          loop->stop();
                      });
    loop->run();
    return sentence;
}

/// A sentence for him, one in the log of the host, and nothing else.
void expect_refusal(Pair& pair, const LinkSecurity& attacker, const std::string& his,
                    const std::string& ours) {
    std::string answer;
    pair.wait_for("the attacker gets an answer", [&] {
        answer = answer_to(pair, attacker);
        return answer.find("Connection refused") == std::string::npos;
    });
    EXPECT_NE(answer.find(his), std::string::npos) << answer;
    pair.wait_for("the host says: " + ours, [&] {
        return host::read_text(pair.folder + "/log.b").take().find(ours) != std::string::npos;
    });
}

TEST(Strangers, WhoIsNoMemberGetsASentenceAndNothingElse) {
    Pair pair, other;
    pair.start();
    EXPECT_EQ(answer_to(pair, pair.security_of("a")), "accepted") << "as a member is";
    expect_refusal(pair, {Security::kInsecure, ""}, "by TLS alone", "127.0.0.1 was refused: the host");
    // The attacker's own look at the host's certificate comes first; tests of TLS leave it out.
    expect_refusal(pair, other.security_of("a"), "its certificate is none of this cluster",
                   "127.0.0.1 was refused: it says that this host's certificate is none of its cluster");
    EXPECT_EQ(pair.state("a"), "Protected");
    pair.wait_for("the backup's process alone is left",
                  [&] { return processes_of(pair.address("b")).size() == 1; });
}

TEST(Strangers, AnExpiredCertificateEndsNothingButLetsNobodyIn) {
    Pair pair;
    pair.start();
    uint64_t now = host::date_s();
    for (const char* host : {"a", "b"}) {
        pair.kill_daemon(host);  // which would renew it
        set_certificate(pair, host, {now - 1000, now - 10});
    }
    sleep_ms(500);
    EXPECT_EQ(pair.state("a"), "Protected");
    pair.signal("a", SIGKILL);
    pair.wait_for("b takes over", [&] { return pair.state("b") == "Solo"; });
    // B has a good one again, A hasn't.
    set_certificate(pair, "b", {now - 1000, now + 100'000});
    pair.start_daemon("b", LOCKSTEP_TOY);
    expect_refusal(pair, pair.security_of("a"), "this host's certificate has expired",
                   "its certificate has expired");
}

TEST(Strangers, ACertificateIsRenewedByItself) {
    Pair pair;
    uint64_t now = host::date_s();
    for (const char* host : {"a", "b"}) {
        set_certificate(pair, host, {now - 1000, now + 400});
        auto until_s = [&] {
            auto identity = host::load_identity(pair.security_of(host).folder);
            return identity ? host::validity_of(*identity.value().own).until_s : 0;
        };
        EXPECT_EQ(until_s(), now + 400);
        pair.kill_daemon(host);
        pair.start_daemon(host, LOCKSTEP_TOY);
        pair.wait_for("the certificate is renewed",
                      [&] { return until_s() > now + 80 * host::kSecondsPerDay; });
    }
    pair.start();
}

/// As certificates were before they had addresses.
TEST(Strangers, ACertificateWithoutAnAddressIsReplaced) {
    Pair pair;
    std::string folder = pair.security_of("b").folder;
    pair.kill_daemon("b");
    host::Identity identity = host::load_identity(folder).take();
    identity.own =
        host::issue_certificate(pair.security_of("a").folder, *identity.key, "host-b", host::date_s()).take();
    EXPECT_TRUE(host::write_identity(folder, identity).ok());
    EXPECT_TRUE(host::addresses_of(*identity.own).empty());
    pair.start_daemon("b", LOCKSTEP_TOY);
    pair.wait_for("the certificate names where its host asks from", [&] {
        auto replaced = host::load_identity(folder);
        return replaced.ok() &&
               host::addresses_of(*replaced.value().own) == std::vector<std::string>{"127.0.0.1"};
    });
}

TEST(Strangers, AHostThatWasRemovedIsLetInNoMore) {
    Pair pair;
    std::string authority = pair.security_of("a").folder;
    host::Identity third = host::load_identity(authority).take();
    third.key = host::make_key().take();
    third.own = host::issue_certificate(authority, *third.key, "host-c", host::date_s()).take();
    LinkSecurity of_third{Security::kTls, pair.folder + "/c"};
    EXPECT_TRUE(host::write_identity(of_third.folder, third).ok());
    pair.start();
    EXPECT_EQ(answer_to(pair, of_third), "accepted");
    Bytes request = encode_cluster_request({.key_request = host::make_request(*third.key).take()});
    EXPECT_TRUE(answer_cluster_request(authority, "host-c", request, host::date_s()).accepted);
    EXPECT_TRUE(host::remove_host(authority, "host-c", host::date_s()).ok());
    EXPECT_FALSE(answer_cluster_request(authority, "host-c", request, host::date_s()).accepted)
        << "on a connection that was open before";
    // Its daemon asks every minute, and as it starts.
    pair.kill_daemon("b");
    pair.start_daemon("b", LOCKSTEP_TOY);
    pair.wait_for("b knows it", [&] {
        auto identity = host::load_identity(pair.security_of("b").folder);
        return identity.ok() && identity.value().removals;
    });
    expect_refusal(pair, of_third, "this host was removed from the cluster",
                   "it was removed from the cluster");
    EXPECT_EQ(pair.state("a"), "Protected");
}

TEST(Strangers, ATokenLetsOneHostInOnce) {
    Pair pair;
    auto run = [&](const std::string& host, std::vector<std::string> words) {
        std::string output = pair.folder + "/output";
        std::filesystem::remove(output);
        words.insert(words.begin(), {"/usr/bin/env", "LOCKSTEP_CONFIG=" + pair.folder + "/" + host,
                                     LOCKSTEP_TOY, "cluster"});
        testing::Process process(words, output);
        int status = process.wait();
        return std::pair{status, host::read_text(output).take()};
    };
    pair.wait_for("a serves", [&] {
        return host::read_text(pair.folder + "/log.a").take().find("takes backups") != std::string::npos;
    });
    auto [made, text] = run("a", {"token", "host-c"});
    ASSERT_EQ(made, 0) << text;
    std::string token;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
        if (line.find_first_not_of("0123456789abcdef") == std::string::npos) token = line;
    auto joined = run("c", {"join", token});
    EXPECT_EQ(joined.first, 0) << joined.second;
    EXPECT_EQ(host::load_identity(pair.folder + "/c/cluster").take().name(), "host-c");
    auto again = run("d", {"join", token});
    EXPECT_EQ(again.first, 1);
    EXPECT_NE(again.second.find("used already"), std::string::npos) << again.second;
    EXPECT_FALSE(host::load_identity(pair.folder + "/d/cluster").ok());
}

/// The UDP ports of a process.
std::vector<uint16_t> udp_ports_of(pid_t process) {
    std::set<std::string> sockets;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", process)))
        sockets.insert(std::filesystem::read_symlink(entry.path(), ignored).string());
    std::vector<uint16_t> ports;
    std::ifstream table("/proc/net/udp");
    std::string line;
    std::getline(table, line);
    while (std::getline(table, line)) {
        std::istringstream fields(line);
        std::string number, local, skipped, inode;
        fields >> number >> local;
        for (int i = 0; i < 7; ++i) fields >> skipped;
        fields >> inode;
        if (sockets.contains("socket:[" + inode + "]"))
            ports.push_back(
                static_cast<uint16_t>(std::stoul(local.substr(local.find(':') + 1), nullptr, 16)));
    }
    return ports;
}

TEST(Strangers, ForgedDatagramsAreIgnoredAndCounted) {
    Pair pair;
    pair.start();
    std::vector<uint16_t> ports = udp_ports_of(pair.process("b"));
    ASSERT_FALSE(ports.empty());
    host::FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    for (uint16_t port : ports)
        for (int i = 0; i < 200; ++i) {
            host::SocketAddress to = host::SocketAddress::parse("127.0.0.1:" + std::to_string(port)).take();
            std::string text = fmt::format("{:064}", i);
            ::sendto(socket.get(), text.data(), text.size(), 0, to.get(), to.length);
        }
    pair.wait_for("b counts them", [&] {
        return pair.status("b").value("ignored_datagrams", testing::Json::object()).value("forged", 0) == 200;
    });
    sleep_ms(1500);  // longer than it takes to believe in a failure
    EXPECT_EQ(pair.state("a"), "Protected");
    EXPECT_EQ(pair.state("b"), "Replaying");
}

uint64_t resident_kib(pid_t process) {
    std::ifstream file(fmt::format("/proc/{}/status", process));
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("VmRSS:")) return std::stoull(line.substr(6));
    return 0;
}

TEST(Strangers, TenThousandSilentConnectionsCostLittleAndPairsGoOn) {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 12'000);
    ::setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 10'500) GTEST_SKIP() << "this user may open too few files";
    Pair pair;
    pair.start();
    host::SocketAddress to = host::SocketAddress::parse(pair.address("b")).take();
    std::vector<host::FileDescriptor> silent;
    for (int i = 0; i < 10'000; ++i) {
        host::FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        // Each hundred from an address of its own, as if they were many hosts.
        host::SocketAddress from =
            host::SocketAddress::parse(fmt::format("127.0.{}.1:0", 1 + i / 100)).take();
        ASSERT_EQ(::bind(socket.get(), from.get(), from.length), 0);
        ASSERT_EQ(::connect(socket.get(), to.get(), to.length), 0);
        silent.push_back(std::move(socket));
    }
    EXPECT_EQ(processes_of(pair.address("b")).size(), 1u) << "who says nothing gets no process";
    EXPECT_EQ(pair.state("a"), "Protected");
    uint64_t daemon_kib = resident_kib(pair.daemon("b"));
    EXPECT_GT(daemon_kib, 0u);
    EXPECT_LT(daemon_kib, 200u << 10);
    std::printf("the daemon has %lu MiB with 10,000 silent connections\n", daemon_kib >> 10);
    // An owner is heard among them.
    pair.signal("b", SIGKILL);
    pair.wait_for_state("a", "Protected");
}

}  // namespace
}  // namespace lockstep::vmm
