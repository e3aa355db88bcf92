// SPDX-License-Identifier: Apache-2.0
// Mistakes of the operator: each gets one sentence that names the thing and the remedy, and a proper exit
// status.
#include "command_line.h"

#include <gtest/gtest.h>

#include "build_id.h"

namespace lockstep::vmm {
namespace {

using testing::CommandLine;
using testing::content_of;
using testing::Outcome;
using testing::Process;

TEST_F(CommandLine, NonsenseIsRefused) {
    struct Nonsense {
        std::vector<std::string> words;
        std::vector<std::string> sentence;
    };
    for (const Nonsense& nonsense : std::vector<Nonsense>{
             {{}, {"name a command", "lockstep --help"}},
             {{"rnu"}, {"\"rnu\"", "did you mean \"run\"?"}},
             {{"log", "sumary", "x"}, {"\"sumary\"", "did you mean \"summary\"?", "lockstep log --help"}},
             {{"run"}, {"config is required", "lockstep run --help"}},
             {{"run", "--colour", "x.toml"}, {"--colour", "lockstep run --help"}},
             {{"status", "one", "two"}, {"two"}},
             {{"replay", "--until", "soon", "x"}, {"--until", "soon"}},
             {{"replay", "--block-limit", "0", "x"}, {"--block-limit", "4096"}},
             {{"replay", "--code-cache", "lots", "x"}, {"--code-cache", "lots", "512 MiB"}},
             {{"replay", "--code-cache", "1 TiB", "x"}, {"--code-cache", "1 TiB", "2 GiB"}},
         })
        expect_sentence(run(nonsense.words), nonsense.sentence, 2);
    EXPECT_EQ(run({"--help"}).status, 0);
    EXPECT_EQ(run({"run", "--help"}).status, 0);
}

TEST_F(CommandLine, AMissingConfiguration) {
    expect_sentence(run({"run", folder_ + "/none.toml"}), {"none.toml", "check the path"});
}

TEST_F(CommandLine, ABadConfiguration) {
    expect_sentence(run({"check", config("[vm2]\n")}), {"toy.toml:5", "vm2"});
}

/// What `run` would refuse before it starts anything, `check` refuses with the same sentence: the table walks
/// all of it. The rest (a lock, a name in use, a verdict) can change until then.
TEST_F(CommandLine, WhatRunRefusesCheckRefusesToo) {
    struct Refusal {
        std::string change, to;  // in the first section of the configuration
        std::string rest;
        std::vector<std::string> parts;
        std::vector<std::string> more = {};
        std::string program = LOCKSTEP_TOY;
    };
    auto protection = [](const std::string& hosts, const std::string& arbiter) {
        return "[protection]\narbiter = \"" + arbiter + "\"\nhosts = [" + hosts + "]\n";
    };
    auto disk = [](const std::string& name) { return "[[disk]]\npath = \"" + name + "\"\n"; };
    auto network = [](const std::string& tap, const std::string& more) {
        return "[[network]]\nmac = \"52:54:00:00:00:01\"\ntap = \"" + tap + "\"\n" + more;
    };
    std::string away = R"("203.0.113.1:7700", "203.0.113.2:7700")";
    std::string two = R"("127.0.0.1:1", "127.0.0.1:2")";
    std::ofstream(folder_ + "/empty").close();
    std::ofstream(folder_ + "/odd") << std::string(1000, 'x');
    std::ofstream(folder_ + "/box") << "QFI\xfb" + std::string(1020, 'x');
    std::filesystem::create_directory(folder_ + "/folder");
    std::vector<Refusal> refusals = {
        {"", "", "", {"/dev/null", "not a Linux bzImage", "/boot/vmlinuz"}, {}, LOCKSTEP_PROGRAM},
        {"/dev/null", "/nowhere/vmlinuz", "", {"/nowhere/vmlinuz", "check the path"}, {}, LOCKSTEP_PROGRAM},
        {"memory", "initrd = \"gone\"\nmemory", "", {folder_ + "/gone", "check the path"}},
        {"64 MiB", "512 GiB", "", {"this host has", "give the VM less"}},
        {"", "", disk("gone"), {folder_ + "/gone", "check the path"}},
        {"", "", disk("empty"), {folder_ + "/empty", "empty", "truncate"}},
        {"", "", disk("odd"), {folder_ + "/odd", "1000 bytes", "no multiple of 512"}},
        {"", "", disk("folder"), {folder_ + "/folder"}},
        {"", "", disk("box"), {folder_ + "/box", "qcow2", "qemu-img convert -O raw " + folder_ + "/box"}},
        {"", "", network("lo", ""), {"network lo", "no TAP device"}},
        {"",
         "",
         network("lsteptap8", "bridge = \"lstepbr8\"\n"),
         {"no bridge lstepbr8", "ip link add lstepbr8"}},
        {"", "", network("lsteptap8", "bridge = \"lo\"\n"), {"lo is no bridge"}},
        {"", "", protection(two, "nowhere"), {"arbiter", "nowhere"}, {"--host", "127.0.0.1:1"}},
        {"", "", protection(away, "arbiter"), {"none of protection.hosts", "203.0.113.1:7700", "`--host`"}},
        {"", "", protection(away, "arbiter"), {"203.0.113.3:7700", "add it"}, {"--host", "203.0.113.3:7700"}},
        {"", "", protection(two, "arbiter"), {"several", "`--host`"}},
    };
    for (Refusal& refusal : refusals) {
        std::string path = config(refusal.rest);
        if (!refusal.change.empty()) {
            std::string text = content_of(path);
            std::ofstream(path) << text.replace(text.find(refusal.change), refusal.change.size(), refusal.to);
        }
        std::vector<std::string> check = {"check", path},
                                 run_it = {"run", path, "--runtime", folder_ + "/run"};
        check.insert(check.end(), refusal.more.begin(), refusal.more.end());
        run_it.insert(run_it.end(), refusal.more.begin(), refusal.more.end());
        Outcome ran = run(run_it, refusal.program);
        expect_sentence(ran, refusal.parts);
        Outcome checked = run(check, refusal.program);
        expect_sentence(checked, refusal.parts);
        // The host's free memory is another number each time.
        if (ran.output.find("MiB free") == std::string::npos) {
            EXPECT_EQ(checked.output, ran.output);
        }
    }
}

TEST_F(CommandLine, CheckSaysAllAtOnceAndGoodOnlyOfWhatRuns) {
    std::string faults =
        "[[disk]]\npath = \"gone\"\n[[network]]\nmac = \"52:54:00:00:00:01\"\ntap = \"lo\"\n";
    Outcome outcome = run({"check", config(faults)});
    expect_failure(outcome, {folder_ + "/gone", "no TAP device"});
    EXPECT_EQ(std::ranges::count(outcome.output, '\n'), 2) << outcome.output;
    outcome = run({"check", config("[[disk]]\npath = \"disk\"\n")});
    EXPECT_EQ(outcome.status, 0);
    EXPECT_TRUE(outcome.output.starts_with(folder_ +
                                           "/toy.toml: VM toy: good; its CPU model is x86-64-v2 (this host "
                                           "offers up to x86-64-v"))
        << outcome.output;
}

TEST_F(CommandLine, AContainerMayBeShownToTheGuestAsItIs) {
    std::ofstream(folder_ + "/box") << "QFI\xfb" + std::string(1020, 'x');
    EXPECT_EQ(run({"check", config("[[disk]]\npath = \"box\"\nformat = \"raw\"\n")}).status, 0);
    expect_sentence(run({"check", config("[[disk]]\npath = \"box\"\nformat = \"qcow2\"\n")}),
                    {"disk.format", "must be one of \"detect\", \"raw\""});
}

TEST_F(CommandLine, ABusyPort) {
    testing::HeldPort port;
    std::string address = "127.0.0.1:" + std::to_string(port.number());
    Process first({LOCKSTEP_TOY, "serve", "--listen", address, "--runtime", folder_}, folder_ + "/first");
    wait_for_text(folder_ + "/first", "takes backups");
    expect_sentence(run({"serve", "--listen", address, "--runtime", folder_}), {address});
}

TEST_F(CommandLine, AnAddressOfAnotherHost) {
    expect_sentence(run({"serve", "--listen", "203.0.113.1:7700", "--runtime", folder_}),
                    {"203.0.113.1:7700"});
}

TEST_F(CommandLine, AVmThatDoesNotRun) {
    for (const char* command :
         {"protect", "unprotect", "failover", "poweroff", "powerbutton", "reset", "status", "console"})
        expect_sentence(run({command, "nobody", "--runtime", folder_}), {"no VM nobody runs on this host"});
    expect_sentence(run({"status", "../etc", "--runtime", folder_}), {"'../etc' can't be the name of a VM"});
    EXPECT_EQ(run({"status", "--runtime", folder_}).status, 0);
}

TEST_F(CommandLine, ALogThatIsNone) {
    std::ofstream(folder_ + "/notes")
        << "this is no log, but it is long enough to be looked at as a header of one";
    expect_sentence(run({"replay", folder_ + "/notes"}), {folder_ + "/notes"});
    expect_sentence(run({"replay", folder_ + "/gone"}), {folder_ + "/gone"});
}

/// A log of a toy, cut and damaged in several places.
class RecordedLog : public CommandLine {
  protected:
    RecordedLog() {
        Process recorder({LOCKSTEP_TOY, "record", config(""), log_, "--runtime", folder_ + "/run"},
                         folder_ + "/recorder");
        wait_for_text(folder_ + "/recorder", "VM toy: it runs");
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        EXPECT_EQ(run({"poweroff", "toy", "--runtime", folder_ + "/run"}).status, 0);
        EXPECT_EQ(recorder.wait(), 0);
        size_ = std::filesystem::file_size(log_);
    }
    std::string cut_to(uintmax_t size) {
        std::filesystem::copy_file(log_, copy_, std::filesystem::copy_options::overwrite_existing);
        std::filesystem::resize_file(copy_, size);
        return copy_;
    }
    std::string damaged_at(uintmax_t offset) {
        cut_to(size_);
        std::fstream damaged(copy_, std::ios::in | std::ios::out | std::ios::binary);
        damaged.seekp(static_cast<std::streamoff>(offset));
        damaged.write("damage", 6);
        return copy_;
    }
    std::string log_ = folder_ + "/toy.log";
    std::string copy_ = folder_ + "/copy.log";
    uintmax_t size_ = 0;
};

TEST_F(RecordedLog, IsReplayedWhole) {
    Outcome whole = run({"replay", log_});
    EXPECT_EQ(whole.status, 0) << whole.output;
    EXPECT_NE(whole.output.find("to the log's end"), std::string::npos) << whole.output;
}

TEST_F(RecordedLog, ThatIsCutSaysWhereAndWhatWasGood) {
    expect_sentence(run({"replay", cut_to(0)}), {copy_, "empty", "record again"});
    expect_sentence(run({"replay", cut_to(10)}), {copy_, "cut off", "use a whole copy"});
    for (uintmax_t missing : {1, 40, 100}) {
        Outcome outcome = run({"replay", cut_to(size_ - missing)});
        expect_failure(outcome, {copy_, "cut off", "use a whole copy", "instructions replayed"});
        EXPECT_EQ(outcome.output.find("to the log's end"), std::string::npos) << missing;
        expect_failure(run({"log", "verify", copy_}), {copy_, "cut off"});
    }
}

TEST_F(RecordedLog, ThatIsDamagedSaysWhere) {
    expect_sentence(run({"replay", damaged_at(0)}), {copy_, "not a Lockstep log"});
    expect_sentence(run({"replay", damaged_at(20)}), {copy_, "damaged", "use an intact copy"});
    expect_failure(run({"replay", damaged_at(size_ / 2)}), {copy_, "damaged", "use an intact copy"});
    expect_failure(run({"replay", damaged_at(size_ - 8)}), {copy_, "damaged", "use an intact copy"});
    cut_to(size_);
    std::ofstream(copy_, std::ios::app) << "more";
    expect_failure(run({"replay", copy_}), {copy_, "bytes follow the end of the log"});
}

TEST_F(RecordedLog, OfAnotherBuildIsRefused) {
    expect_sentence(run({"replay", log_}, LOCKSTEP_PROGRAM), {log_, "the builds of Lockstep differ"});
}

TEST_F(RecordedLog, OfAnotherBuildIsReplayedWithAWarningIfAskedFor) {
    std::string other = folder_ + "/other_lockstep";
    copy_as_other_build(LOCKSTEP_TOY, other);
    expect_sentence(run({"replay", log_}, other), {log_, "the builds of Lockstep differ"});

    Outcome outcome = run({"replay", "--any-build", log_}, other);
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    for (const char* part : {"warning", "recorded this log", "to the log's end"})
        EXPECT_NE(outcome.output.find(part), std::string::npos) << outcome.output;
    EXPECT_EQ(run({"replay", "--any-build", log_}).output.find("warning"), std::string::npos);
}

TEST_F(CommandLine, ARecordingThatCannotStartLeavesNothing) {
    std::string log = folder_ + "/toy.log";
    expect_sentence(
        run({"record", config("[[disk]]\npath = \"gone\"\n"), log, "--runtime", folder_ + "/run"}), {"gone"});
    EXPECT_FALSE(std::filesystem::exists(log));
    expect_sentence(run({"record", config(""), folder_ + "/no/log", "--runtime", folder_ + "/run"}),
                    {folder_ + "/no/log", "check the path"});
    std::ofstream(log) << "dear";
    expect_sentence(run({"record", config(""), log, "--runtime", folder_ + "/run"}),
                    {log, "choose another name"});
    EXPECT_EQ(std::filesystem::file_size(log), 4u) << "what was there stays";
}

}  // namespace
}  // namespace lockstep::vmm
