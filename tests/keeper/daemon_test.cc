// SPDX-License-Identifier: Apache-2.0
// Daemons that look after toy VMs: real processes, killed and switched off.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "keeper/vm_keeper.h"
#include "pair_harness.h"

namespace lockstep::keeper {
namespace {

using vmm::testing::Json;
using vmm::testing::Pair;
using vmm::testing::Process;

constexpr unsigned kPatienceMs = 90'000;

class KeptPair {
  public:
    /// Writes the configuration of a VM into the folder of host A's daemon. `keys`: lines of [vm].
    void keep(const std::string& vm, const std::string& keys, bool is_protected) {
        std::string folder = pair.runtime("a") + "/vms";
        std::filesystem::create_directories(folder);
        std::string disk = pair.shared + "/" + vm;
        std::ofstream(disk).close();
        std::filesystem::resize_file(disk, 64 * 512);
        std::ofstream file(folder + "/" + vm + ".toml");
        file << "[vm]\nname = \"" << vm << "\"\nkernel = \"/dev/null\"\nmemory = \"64 MiB\"\n" << keys;
        file << "[[disk]]\npath = \"" << disk << "\"\nshared = true\n";
        if (is_protected)
            file << "[protection]\nhosts = [\"" << pair.address("a") << "\", \"" << pair.address("b")
                 << "\"]\narbiter = \"" << pair.shared << "/arbiter\"\n";
    }
    Json kept(const std::string& vm) const {
        for (const Json& one : kept_vms(pair.runtime("a")))
            if (one["name"] == vm) return one;
        return Json::object();
    }
    void wait_for(const std::string& vm, const std::string& state) {
        pair.wait_for(
            vm + " is " + state, [&] { return kept(vm).value("state", "") == state; }, kPatienceMs);
    }
    /// The process of a VM, which the daemon has started; another one than `before`.
    pid_t wait_for_process(const std::string& vm, pid_t before = 0) {
        pid_t found = 0;
        pair.wait_for(
            vm + " runs",
            [&] {
                found = pair.process("a", vm);
                return found != 0 && found != before && kept(vm).value("state", "") == "running";
            },
            kPatienceMs);
        return found;
    }
    Json ask(const std::string& action, const std::string& vm) const {
        auto answer =
            host::control_request(daemon_socket(pair.runtime("a")), {{"action", action}, {"vm", vm}});
        return answer ? answer.value() : Json{{"error", answer.error().message()}};
    }

    Pair pair;
};

TEST(Daemon, StartsWatchesAndStartsAgain) {
    KeptPair hosts;
    hosts.keep("web", "autostart = true\nrestart_limit = 1\n", false);
    hosts.keep("rest", "", false);
    hosts.keep("odd", "autostrat = true\n", false);
    pid_t first = hosts.wait_for_process("web");
    hosts.wait_for("rest", "off");
    EXPECT_NE(hosts.kept("odd").value("mistake", "").find("did you mean \"autostart\"?"), std::string::npos);

    ASSERT_EQ(::kill(first, SIGKILL), 0);
    pid_t second = hosts.wait_for_process("web", first);
    hosts.pair.kill_daemon("a");
    hosts.pair.start_daemon("a", LOCKSTEP_TOY);
    EXPECT_EQ(hosts.wait_for_process("web"), second) << "a daemon's end harms no VM";
    ASSERT_EQ(::kill(second, SIGKILL), 0);
    hosts.wait_for("web", "failed");
    EXPECT_NE(hosts.kept("web").value("why", "").find("restart_limit"), std::string::npos)
        << "its only restart was under the daemon before: " << hosts.kept("web");

    hosts.pair.wait_for(
        "the new daemon starts it", [&] { return hosts.ask("start", "web").contains("done"); }, kPatienceMs);
    hosts.wait_for_process("web", second);
    EXPECT_TRUE(hosts.pair.act("a", {{"action", "poweroff"}}, "web").contains("done"));
    hosts.wait_for("web", "off");
    EXPECT_FALSE(std::filesystem::exists(hosts.pair.runtime("a") + "/web")) << "nothing is left behind";
    EXPECT_TRUE(hosts.ask("start", "none").contains("error"));
    EXPECT_TRUE(hosts.ask("destroy", "web").contains("error"));
}

TEST(Daemon, WhatAKilledOneHasHalfWrittenCountsForNothing) {
    KeptPair hosts;
    hosts.keep("rest", "", false);
    hosts.wait_for("rest", "off");
    hosts.pair.kill_daemon("a");
    std::string unfinished = hosts.pair.runtime("a") + "/.kept/rest.0123.tmp";
    std::ofstream(unfinished) << R"({"name": "rest", "state": "running"})";
    EXPECT_EQ(kept_vms(hosts.pair.runtime("a")).size(), 1u);
    EXPECT_EQ(hosts.kept("rest").value("state", ""), "off");
    hosts.pair.start_daemon("a", LOCKSTEP_TOY);
    hosts.pair.wait_for(
        "it is gone", [&] { return !std::filesystem::exists(unfinished); }, kPatienceMs);
}

TEST(Daemon, KnowsThatAVmRunsElsewhere) {
    KeptPair hosts;
    hosts.keep("web", "autostart = true\n", true);
    pid_t first = hosts.wait_for_process("web");
    hosts.pair.wait_for_state("a", "Protected", "web");
    hosts.pair.kill_daemon("b");  // no backup is made there again
    ASSERT_EQ(::kill(first, SIGKILL), 0);
    hosts.wait_for("web", "elsewhere");
    hosts.pair.wait_for("B owns it", [&] {
        std::string role = hosts.pair.status("b", "web").value("role", "");
        return role == "solo" || role == "primary";
    });
    EXPECT_TRUE(hosts.pair.act("b", {{"action", "poweroff"}}, "web").contains("done"));
    hosts.wait_for("web", "off");
}

TEST(Daemon, EvacuatesItsHost) {
    KeptPair hosts;
    hosts.keep("web", "autostart = true\n", true);
    hosts.keep("alone", "autostart = true\n", false);
    hosts.wait_for_process("web");
    hosts.wait_for_process("alone");
    hosts.pair.wait_for_state("a", "Protected", "web");
    auto run = [&](const std::vector<std::string>& words) {
        std::vector<std::string> command = {LOCKSTEP_TOY, "host"};
        command.insert(command.end(), words.begin(), words.end());
        command.insert(command.end(), {"--runtime", hosts.pair.runtime("a")});
        return Process(command, hosts.pair.folder + "/log.a").wait(kPatienceMs);
    };
    EXPECT_EQ(run({"evacuate", "--leave-unprotected"}), 0);
    hosts.wait_for("web", "elsewhere");
    hosts.pair.wait_for(
        "B's owner is told why it has no backup",
        [&] {
            return hosts.pair.status("b", "web").value("no_backup_why", "").find("evacuated") !=
                   std::string::npos;
        },
        kPatienceMs);
    EXPECT_EQ(hosts.kept("alone").value("state", ""), "running");
    EXPECT_NE(hosts.ask("start", "web").value("error", "").find("host restore"), std::string::npos);
    EXPECT_EQ(run({"evacuate"}), 0);
    hosts.wait_for("alone", "off");
    EXPECT_EQ(run({"restore"}), 0);
    hosts.pair.wait_for_state("b", "Protected", "web");
}

}  // namespace
}  // namespace lockstep::keeper
