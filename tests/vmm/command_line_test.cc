// Mistakes of the operator: each gets one sentence that names the thing and the remedy, and a proper exit
// status.
#include "command_line.h"

#include <gtest/gtest.h>

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

TEST_F(CommandLine, AKernelThatIsNone) {
    std::vector<std::string> command = {"run", config(""), "--runtime", folder_ + "/run"};
    expect_sentence(run(command, LOCKSTEP_PROGRAM), {"/dev/null", "not a Linux bzImage", "/boot/vmlinuz"});
    std::string text = content_of(config(""));
    std::ofstream(folder_ + "/toy.toml") << text.replace(text.find("/dev/null"), 9, "/nowhere/vmlinuz");
    expect_sentence(run(command, LOCKSTEP_PROGRAM), {"/nowhere/vmlinuz", "check the path"});
}

TEST_F(CommandLine, MoreMemoryThanThereIs) {
    std::string text = content_of(config(""));
    std::ofstream(folder_ + "/toy.toml") << text.replace(text.find("64 MiB"), 6, "512 GiB");
    expect_sentence(run({"run", folder_ + "/toy.toml", "--runtime", folder_ + "/run"}),
                    {"this host has", "give the VM less"});
}

TEST_F(CommandLine, AMissingDisk) {
    expect_sentence(run_vm("[[disk]]\npath = \"gone\"\n"), {folder_ + "/gone", "check the path"});
}

TEST_F(CommandLine, AnEmptyDisk) {
    std::ofstream(folder_ + "/empty").close();
    expect_sentence(run_vm("[[disk]]\npath = \"empty\"\n"), {folder_ + "/empty", "empty"});
}

TEST_F(CommandLine, ATapThatCannotBe) {
    expect_sentence(run_vm("[[network]]\ntap = \"lo\"\nmac = \"52:54:00:00:00:01\"\n"), {"lo"});
}

TEST_F(CommandLine, AnArbiterOutOfReach) {
    std::string protection =
        "[protection]\nhosts = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\narbiter = \"nowhere\"\n";
    expect_sentence(run_vm(protection, {"--host", "127.0.0.1:1"}), {"arbiter", "nowhere"});
}

TEST_F(CommandLine, AHostThatIsNoneOfItsHosts) {
    auto protection = [](const std::string& hosts) {
        return "[protection]\narbiter = \"arbiter\"\nhosts = [" + hosts + "]\n";
    };
    std::string away = R"("203.0.113.1:7700", "203.0.113.2:7700")";
    expect_sentence(run_vm(protection(away)), {"none of protection.hosts", "203.0.113.1:7700", "`--host`"});
    expect_sentence(run_vm(protection(away), {"--host", "203.0.113.3:7700"}), {"203.0.113.3:7700", "add it"});
    expect_sentence(run_vm(protection(R"("127.0.0.1:1", "127.0.0.1:2")")), {"several", "`--host`"});
}

TEST_F(CommandLine, ABusyPort) {
    std::string address = "127.0.0.1:" + std::to_string(testing::free_port());
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
        wait_for_text(folder_ + "/recorder", "VM toy runs");
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

// A byte behind the end of an executable makes another build of it that computes alike.
TEST_F(RecordedLog, OfAnotherBuildIsReplayedWithAWarningIfAskedFor) {
    std::string other = folder_ + "/other_lockstep";
    std::filesystem::copy_file(LOCKSTEP_TOY, other);
    std::ofstream(other, std::ios::app) << '\n';
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
