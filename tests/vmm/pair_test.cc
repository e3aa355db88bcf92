// SPDX-License-Identifier: Apache-2.0
// Pairs of VM processes on one machine, with toy guests: what happens when one side, or what joins them,
// fails.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "build_id.h"
#include "host/arbiter.h"
#include "host/files.h"
#include "host/host_cpu.h"
#include "pair_harness.h"
#include "record/fields.h"
#include "vmm/backup_seeker.h"
#include "vmm/settings_check.h"
#include "vmm/version.h"

namespace lockstep::vmm {
namespace {

using testing::expect_goes_on;
using testing::Json;
using testing::Pair;
using testing::sleep_ms;

TEST(Pair, TheSurvivorGoesOnAndIsProtectedAgain) {
    Pair pair;
    pair.start();
    sleep_ms(300);
    int before = pair.checked_lines("a");
    pair.signal("a", SIGKILL);
    expect_goes_on(pair, "b", before);
    EXPECT_FALSE(pair.status("b").value("careful", true)) << "nothing is known of a fault";
    pair.wait_for_state("b", "Protected");
    EXPECT_EQ(pair.status("b")["term"], 2);
    EXPECT_EQ(pair.vm().wait(), -1);

    int between = pair.checked_lines("b");
    pair.signal("b", SIGKILL);
    expect_goes_on(pair, "a", between);
    pair.wait_for_state("a", "Protected");
    pair.wait_for("hashes are compared", [&] { return pair.status("b").value("state_hashes", 0) > 0; });

    pair.act("a", {{"action", "poweroff"}});
    pair.wait_for("both sides end", [&] { return pair.process("a") == 0 && pair.process("b") == 0; });
    pair.check_disk();
}

// The fault may be one of the engine's optimisations, and meet the backup at the same instruction.
TEST(Pair, AfterAFaultOfThePrimaryTheBackupDoesWithoutOptimisationsForASecond) {
    for (int signal : {SIGSEGV, SIGABRT}) {
        Pair pair;
        pair.start();
        int before = pair.checked_lines("a");
        EXPECT_FALSE(pair.status("b").value("careful", true));
        pair.signal("a", signal);
        pair.wait_for("b is live, and careful", [&] {
            Json status = pair.status("b");
            return status.value("state", "") == "Solo" && status.value("careful", false);
        });
        expect_goes_on(pair, "b", before);
        pair.wait_for("b has its optimisations again",
                      [&] { return !pair.status("b").value("careful", true); });
        uint64_t live_ms = pair.status("b").value("live_ms", uint64_t{0});
        EXPECT_GE(live_ms, 1000u);
        pair.wait_for_state("b", "Protected");
    }
}

TEST(Pair, ManyKillsInARow) {
    Pair pair;
    pair.start();
    std::string live = "a", other = "b";
    for (int round = 0; round < 6; ++round) {
        sleep_ms(20 + static_cast<unsigned>(round) * 37 % 100);
        int before = pair.checked_lines(live);
        pair.signal(live, SIGKILL);
        std::swap(live, other);
        expect_goes_on(pair, live, before);
        pair.wait_for_state(live, "Protected");
    }
    pair.type(live, "q");
    pair.wait_for("both sides end", [&] { return pair.process("a") == 0 && pair.process("b") == 0; });
    pair.check_disk();
}

/// The toy never flushes: what it was told of its writes must hold although its host's memory is gone.
TEST(Pair, WhatWasAnsweredSurvivesTheMemoryOfADeadHost) {
    if (!Pair::can_have_caches()) GTEST_SKIP() << "needs root and /dev/fuse";
    Pair pair(false, testing::Storage::kCacheOfEachHost);
    pair.start();
    pair.wait_for("the disk is written", [&] { return pair.checked_lines("a") > 80; });
    pair.signal("b", SIGSTOP);  // the disk is looked at before the survivor writes to it
    pair.kill_host("a");
    pair.check_disk();
    pair.signal("b", SIGCONT);
    pair.wait_for_state("b", "Solo");
    pair.type("b", "q");
    pair.wait_for("b ends", [&] { return pair.process("b") == 0; });
    pair.check_disk();
}

TEST(Pair, TheBackupDiesAndThePrimaryGoesOnWithinASecond) {
    Pair pair;
    pair.start();
    int before = pair.checked_lines("a");
    pair.kill_daemon("b");
    pair.signal("b", SIGKILL);
    pair.wait_for(
        "a is alone", [&] { return pair.state("a") == "Solo"; }, 1000);
    expect_goes_on(pair, "a", before);
    EXPECT_EQ(pair.status("a")["held_outputs"], 0);
    pair.wait_for("a says why it has no backup", [&] {
        return pair.status("a").value("no_backup_why", "").find("serve") != std::string::npos;
    });
}

TEST(Pair, AStoppedPrimaryFindsThatItLost) {
    Pair pair;
    pair.start();
    pid_t old = pair.process("a");
    ASSERT_GT(old, 0);
    int before = pair.checked_lines("a");
    pair.kill_daemon("a");  // so that nobody ends it for a backup of its successor's
    ::kill(old, SIGSTOP);
    pair.wait_for("b is live", [&] { return pair.state("b") == "Solo"; });
    expect_goes_on(pair, "b", before);
    ::kill(old, SIGCONT);
    EXPECT_EQ(pair.vm().wait(), 3) << "the exit status of a side that lost";
    pair.start_daemon("a", LOCKSTEP_TOY);
    pair.wait_for_state("b", "Protected");
    pair.act("b", {{"action", "poweroff"}});
    pair.wait_for("both sides end", [&] { return pair.process("a") == 0 && pair.process("b") == 0; });
    pair.check_disk();
}

TEST(Pair, ACutChannelLeavesExactlyOneSide) {
    Pair pair(true);
    pair.start();
    int before = pair.checked_lines("a");
    pair.proxy()->cut();
    pair.wait_for("one side is alone",
                  [&] { return pair.state("a") == "Solo" || pair.state("b") == "Solo"; });
    std::string live = pair.state("a") == "Solo" ? "a" : "b";
    std::string other = live == "a" ? "b" : "a";
    expect_goes_on(pair, live, before);
    pair.wait_for("the other side ends",
                  [&] { return pair.state(other) != "Solo" && pair.process(other) == 0; });
}

TEST(Pair, AFrozenChannelIsNoticedThoughHeartbeatsArrive) {
    Pair pair(true);
    pair.start();
    int before = pair.checked_lines("a");
    pair.proxy()->freeze();
    pair.wait_for("one side is alone",
                  [&] { return pair.state("a") == "Solo" || pair.state("b") == "Solo"; });
    std::string live = pair.state("a") == "Solo" ? "a" : "b";
    expect_goes_on(pair, live, before);
}

TEST(Pair, WithoutTheArbiterNobodyGoesLive) {
    Pair pair;
    pair.start();
    std::filesystem::rename(pair.shared + "/arbiter", pair.shared + "/away");
    int before = pair.checked_lines("a");
    pair.signal("a", SIGKILL);
    pair.wait_for_state("b", "BackupClaiming");
    sleep_ms(1500);
    EXPECT_EQ(pair.state("b"), "BackupClaiming");
    EXPECT_EQ(pair.status("b")["role"], "backup");
    std::filesystem::rename(pair.shared + "/away", pair.shared + "/arbiter");
    expect_goes_on(pair, "b", before);
}

TEST(Pair, APrimaryThatMayLetNothingOutIsNotCalledOne) {
    Pair pair;
    pair.start();
    EXPECT_EQ(pair.status("a")["role"], "primary");
    std::filesystem::rename(pair.shared + "/arbiter", pair.shared + "/away");
    pair.signal("b", SIGKILL);
    pair.wait_for_state("a", "PrimaryClaiming");
    EXPECT_EQ(pair.status("a")["role"], "waiting");
    std::filesystem::rename(pair.shared + "/away", pair.shared + "/arbiter");
    pair.wait_for("a may act again", [&] { return pair.status("a")["role"] == "solo"; });
}

TEST(Pair, AnOwnerWithoutArbiterIsEndedBySignals) {
    Pair pair;
    pair.start();
    std::filesystem::rename(pair.shared + "/arbiter", pair.shared + "/away");
    pair.signal("b", SIGKILL);
    pair.wait_for_state("a", "PrimaryClaiming");
    pair.signal("a", SIGTERM);
    sleep_ms(500);
    EXPECT_EQ(pair.state("a"), "PrimaryClaiming") << "the guest's last outputs may leave yet";
    pair.wait_for("a ends", [&] {
        pid_t running = pair.process("a");
        if (running > 0) ::kill(running, SIGTERM);
        return running <= 0;
    });
    std::filesystem::rename(pair.shared + "/away", pair.shared + "/arbiter");
    std::ifstream lease(pair.shared + "/arbiter/toy.lease-1");
    std::string text((std::istreambuf_iterator<char>(lease)), {});
    EXPECT_TRUE(text.starts_with("held")) << text;
}

TEST(Pair, APlannedFailOverLosesNothing) {
    Pair pair;
    pair.start();
    int before = pair.checked_lines("a");
    EXPECT_TRUE(pair.act("a", {{"action", "failover"}}).contains("done"));
    EXPECT_EQ(pair.vm().wait(), 0);
    expect_goes_on(pair, "b", before);
    pair.wait_for_state("b", "Protected");
}

TEST(Pair, APowerOffInTheGuestIsNoFailure) {
    Pair pair;
    pair.start();
    pair.type("a", "xq");
    EXPECT_EQ(pair.vm().wait(), 0);
    pair.wait_for("the backup ends", [&] { return pair.process("b") == 0; });
    std::ifstream log(pair.folder + "/log.b");
    std::string text(std::istreambuf_iterator<char>(log), {});
    EXPECT_EQ(text.find("GoingLive"), std::string::npos);
}

TEST(Pair, AResetIsTheSameOnBothSides) {
    Pair pair;
    pair.start();
    pair.act("a", {{"action", "reset"}});
    sleep_ms(500);
    EXPECT_EQ(pair.state("a"), "Protected");
    EXPECT_EQ(pair.state("b"), "Replaying");
}

TEST(Pair, TwoVmsOneInEachDirection) {
    Pair pair;
    pair.configure("toy2");
    pair.start();
    auto second = pair.start_vm("b", "toy2");
    pair.wait_for_state("b", "Protected", "toy2");
    pair.wait_for_state("a", "Replaying", "toy2");
    // Host A fails: the one VM loses its primary, the other its backup.
    int before = pair.checked_lines("a"), before2 = pair.checked_lines("b", "toy2");
    pair.signal("a", SIGKILL);
    pair.signal("a", SIGKILL, "toy2");
    expect_goes_on(pair, "b", before);
    pair.wait_for("the other VM prints on", [&] { return pair.checked_lines("b", "toy2") > before2 + 5; });
    pair.wait_for_state("b", "Protected");
    pair.wait_for_state("b", "Protected", "toy2");
}

TEST(Pair, AHostWithAnotherBuildRefusesAndHarmsNobody) {
    Pair pair;
    pair.kill_daemon("b");
    std::string other = pair.folder + "/other-build";
    copy_as_other_build(LOCKSTEP_TOY, other);
    pair.start_daemon("b", other);
    auto vm = pair.start_vm("a");
    pair.wait_for("a says that the build differs", [&] {
        return pair.status("a").value("no_backup_why", "").find("another build") != std::string::npos;
    });
    EXPECT_EQ(pair.state("a"), "Solo");
    expect_goes_on(pair, "a", pair.checked_lines("a"));
    pair.kill_daemon("b");
    pair.start_daemon("b", LOCKSTEP_TOY);
    pair.wait_for_state("a", "Protected");
}

TEST(Pair, AHostThatCantTakeTheBackupSaysWhyAndHarmsNobody) {
    Pair pair;
    std::ofstream(pair.runtime("b") + "/toy").close();  // a file where the VM's runtime folder belongs
    auto vm = pair.start_vm("a");
    pair.wait_for("a says why", [&] {
        return pair.status("a")
                   .value("no_backup_why", "")
                   .find("can't take the backup of VM toy: cannot make folder") != std::string::npos;
    });
    EXPECT_EQ(pair.state("a"), "Solo");
    expect_goes_on(pair, "a", pair.checked_lines("a"));
    std::filesystem::remove(pair.runtime("b") + "/toy");
    pair.wait_for_state("a", "Protected");
}

/// The build of the daemons, which isn't that of this test.
std::string toy_build() {
    std::string program = program_at(LOCKSTEP_TOY);
    std::span<const char> id = build_id_in(program);
    auto build = record::BuildIdentity::of_executable(
        kVersion, ByteSpan(reinterpret_cast<const uint8_t*>(id.data()), id.size()));
    return fmt::format("{} {:016x}", build.version, build.hash);
}

/// What host B answers: "accepted", or why not.
std::string answer_to(Pair& pair, const Introduction& introduction) {
    auto loop = host::EventLoop::create().take();
    std::string sentence;
    Greeting greeting(*loop, pair.address("b"), pair.security_of("a"), introduction, 5'000'000'000,
                      [&](Result<std::unique_ptr<PairLink>> link, const Answer&) {
                          sentence = link ? "accepted" : link.error().message();
                          loop->stop();
                      });
    loop->run();
    return sentence;
}

TEST(Pair, AHostWithAnotherProcessorRefusesWithTheFeatureThatIsMissing) {
    Pair pair;
    pair.start();
    Introduction stranger;
    stranger.purpose = Purpose::kProtect;
    stranger.vm_name = "stranger";
    stranger.build = toy_build();
    stranger.cpu = host::host_cpu_identity();
    stranger.cpu.features.bits |= 1ull << 63;  // a feature that no processor has
    std::string sentence = answer_to(pair, stranger);
    EXPECT_NE(sentence.find("the processors are not compatible"), std::string::npos) << sentence;
    EXPECT_NE(sentence.find("missing here: what this program has no name for"), std::string::npos)
        << sentence;
    EXPECT_EQ(pair.process("b", "stranger"), 0);
    EXPECT_EQ(pair.state("a"), "Protected") << "the VM that runs there is unharmed";
}

TEST(Pair, AnInitialRamDiskLargerThanAnyMessageIsNoHindrance) {
    Pair pair;
    std::ofstream(pair.folder + "/initrd").close();
    std::filesystem::resize_file(pair.folder + "/initrd", 70 << 20);
    std::string config = pair.folder + "/toy.toml";
    std::string text = host::read_text(config).take();
    std::ofstream(config) << text.replace(text.find("memory"), 6, "initrd = \"initrd\"\nmemory");
    pair.start();
    pair.signal("a", SIGKILL);
    expect_goes_on(pair, "b", 10);
    pair.wait_for_state("b", "Protected");
}

/// Settings of another host may ask for no more than a file of this one could.
TEST(Pair, SettingsBeyondTheirBoundsAreRefused) {
    VmSettings good;
    good.name = "web";
    good.memory_bytes = 64 << 20;
    EXPECT_TRUE(check_foreign(good).ok());
    auto expect_refusal = [&](const std::string& what, const std::function<void(VmSettings&)>& change) {
        VmSettings bad = good;
        change(bad);
        Result<void> checked = check_foreign(bad);
        ASSERT_FALSE(checked.ok()) << what;
        EXPECT_NE(checked.error().message().find(what), std::string::npos) << checked.error().message();
    };
    expect_refusal("vm.cpu", [](VmSettings& bad) { bad.cpu = CpuChoice::kBest; });
    expect_refusal("../web", [](VmSettings& s) { s.name = "../web"; });
    expect_refusal("vm.memory", [](VmSettings& s) { s.memory_bytes = uint64_t{1} << 60; });
    expect_refusal("2 MiB", [](VmSettings& s) { s.memory_bytes += 512; });
    expect_refusal("engine.code_cache", [](VmSettings& s) { s.engine.code_cache_bytes = ~uint64_t{0}; });
    expect_refusal("protection.log_buffer", [](VmSettings& s) { s.protection.log_buffer = ~uint64_t{0}; });
    expect_refusal("protection.heartbeat_ms", [](VmSettings& s) { s.protection.heartbeat_ms = 0; });
    expect_refusal("console.kind", [](VmSettings& s) { s.console.kind = static_cast<ConsoleKind>(9); });
    expect_refusal("disk.path has control characters: a b",
                   [](VmSettings& s) { s.disks.emplace_back().path = "a\nb"; });
    expect_refusal("disk.path is longer",
                   [](VmSettings& s) { s.disks.emplace_back().path = std::string(5000, 'x'); });
    expect_refusal("more than 8 disks", [](VmSettings& s) { s.disks.resize(9); });
    expect_refusal("more than 16 hosts", [](VmSettings& s) { s.protection.hosts.assign(17, "10.0.0.1:1"); });
    expect_refusal("TAP device", [](VmSettings& s) { s.networks.emplace_back().tap = "a/b"; });
}

/// A process that hangs is ended by its host, and its place is taken.
TEST(Pair, ABackupThatHangsIsReplaced) {
    Pair pair;
    pair.start();
    pid_t hung = pair.process("b");
    int before = pair.checked_lines("a");
    pair.signal("b", SIGSTOP);
    pair.wait_for_state("a", "Solo");
    expect_goes_on(pair, "a", before);
    pair.wait_for_state("a", "Protected");
    EXPECT_NE(pair.process("b"), hung);
    EXPECT_NE(::kill(hung, 0), 0);
    pair.signal("a", SIGKILL);
    expect_goes_on(pair, "b", pair.checked_lines("b"));
}

TEST(Pair, ABackupThatHangsWhileItLoadsIsReplaced) {
    Pair pair;
    pair.kill_daemon("b");
    auto vm = pair.start_vm("a");
    pair.start_daemon("b", LOCKSTEP_TOY);
    pair.wait_for("b serves", [&] { return pair.process("b") != 0; });
    pid_t hung = pair.process("b");
    ::kill(hung, SIGSTOP);  // armed or not
    pair.wait_for("b is replaced", [&] { return pair.process("b") != 0 && pair.process("b") != hung; });
    pair.wait_for_state("a", "Protected");
}

TEST(Pair, AnOwnerThatHangsMakesRoomForTheBackupOfItsSuccessor) {
    Pair pair;
    pair.start();
    pid_t hung = pair.process("a");
    pair.signal("a", SIGSTOP);
    pair.wait_for_state("b", "Solo");
    pair.wait_for_state("b", "Protected");
    EXPECT_NE(pair.process("a"), hung);
    EXPECT_EQ(pair.vm().wait(), -1) << "it was ended by a signal";
}

/// What an owner would say to have a backup on host B; gives the answer.
std::string ask_for_backup(Pair& pair, Term term, const std::string& claimant) {
    VmSettings settings;
    settings.name = "toy";
    settings.memory_bytes = 64 << 20;
    settings.protection.hosts = {pair.address("a"), pair.address("b")};
    settings.protection.arbiter = pair.shared + "/arbiter";
    Introduction asker{.purpose = Purpose::kProtect,
                       .build = toy_build(),
                       .cpu = host::host_cpu_identity(),
                       .vm_name = "toy",
                       .vm = 1,
                       .udp_port = 0,
                       .settings = record::encode_fields(settings),
                       .term = term,
                       .claimant = claimant};
    return answer_to(pair, asker);
}

/// Nobody but the owner of the newest term has the process of a VM ended.
TEST(Pair, AHungProcessThatMayOwnTheVmStays) {
    Pair pair;
    for (const char* host : {"a", "b"}) pair.kill_daemon(host);
    auto vm = pair.start_vm("b");
    pair.wait_for_state("b", "Solo");
    pid_t owner = pair.process("b");
    pair.start_daemon("b", LOCKSTEP_TOY);
    pair.signal("b", SIGSTOP);
    std::string itself = host::winner_in_folder(pair.shared + "/arbiter", "toy", Term(1));
    for (const auto& [term, claimant] : {std::pair{Term(1), std::string("somebody")},
                                         {Term(2), "somebody"},
                                         {Term(1), itself},
                                         {Term(0), ""}}) {
        std::string answer = ask_for_backup(pair, term, claimant);
        EXPECT_NE(answer.find("may own the VM: the newest term, 1, was won by " + itself), std::string::npos)
            << answer;
        EXPECT_EQ(pair.process("b"), owner);
    }
    pair.signal("b", SIGCONT);
    pair.start_daemon("a", LOCKSTEP_TOY);
    pair.wait_for_state("b", "Protected");
    EXPECT_EQ(pair.process("b"), owner);
}

TEST(Pair, AVmRunsOnce) {
    Pair pair;
    pair.start();
    EXPECT_EQ(pair.start_vm("a")->wait(), 1) << "on the same host";
    pair.signal("a", SIGSTOP);
    EXPECT_EQ(pair.start_vm("a")->wait(), 1) << "though its process is stopped";
    pair.signal("a", SIGCONT);
}

TEST(Pair, AStartElsewhereIsRefusedThoughNoDaemonAnswers) {
    Pair pair;
    pair.kill_daemon("b");
    auto vm = pair.start_vm("a");
    pair.wait_for_state("a", "Solo");
    pair.kill_daemon("a");
    EXPECT_EQ(pair.start_vm("b")->wait(30'000), 1) << "the owner renews its term";
    expect_goes_on(pair, "a", pair.checked_lines("a"));
}

TEST(Pair, ADeadOwnersVmIsStartedElsewhereOnceItsLeaseIsOver) {
    Pair pair;
    pair.kill_daemon("b");
    auto vm = pair.start_vm("a");
    pair.wait_for_state("a", "Solo");
    pair.wait_for("its term is renewed",
                  [&] { return std::filesystem::exists(pair.shared + "/arbiter/toy.lease-1"); });
    pair.signal("a", SIGKILL);
    auto other = pair.start_vm("b");
    sleep_ms(5000);
    EXPECT_EQ(pair.status("b").value("role", ""), "starting") << "nobody knows yet that the owner is dead";
    pair.wait_for("b owns it", [&] { return pair.status("b").value("term", 0) == 2; });
}

TEST(Pair, OfTwoStartsAtTheSameMomentOneWins) {
    Pair pair;
    for (int round = 0; round < 6; ++round) {
        auto a = pair.start_vm("a"), b = pair.start_vm("b");
        pair.wait_for_one_owner();
        std::string role = pair.status("a").value("role", ""),
                    owner = role == "solo" || role == "primary" ? "a" : "b";
        // Who still watches the owner's lease would start the VM once it is switched off.
        (owner == "a" ? b : a)->wait();
        pair.act(owner, {{"action", "poweroff"}});
        (owner == "a" ? a : b)->wait();
        pair.wait_for("both are gone", [&] { return pair.process("a") == 0 && pair.process("b") == 0; });
    }
}

TEST(Pair, AnOwnerThatIsOverruledByForceHalts) {
    Pair pair;
    pair.kill_daemon("b");
    auto vm = pair.start_vm("a");
    pair.wait_for_state("a", "Solo");
    auto forced = pair.start_vm("b", "toy", {"--force"});
    EXPECT_EQ(vm->wait(10'000), 3);
    pair.wait_for("b owns it", [&] { return pair.status("b").value("term", 0) == 2; });
}

TEST(Pair, ProtectionIsGivenUpAndTakenUpAgain) {
    Pair pair;
    pair.start();
    EXPECT_TRUE(pair.act("a", {{"action", "unprotect"}}).contains("done"));
    pair.wait_for_state("a", "Solo");
    pair.wait_for("the backup ends", [&] { return pair.process("b") == 0; });
    sleep_ms(1300);
    EXPECT_EQ(pair.state("a"), "Solo");
    EXPECT_TRUE(pair.act("a", {{"action", "protect"}}).contains("done"));
    pair.wait_for_state("a", "Protected");
    EXPECT_TRUE(pair.act("b", {{"action", "protect"}}).contains("error")) << "a backup refuses";
}

}  // namespace
}  // namespace lockstep::vmm
