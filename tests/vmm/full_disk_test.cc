// SPDX-License-Identifier: Apache-2.0
// A file system that is full, beneath everything that a VM writes: it goes on, and says what is the matter.
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "command_line.h"

namespace lockstep::vmm {
namespace {

using testing::content_of;
using testing::Outcome;
using testing::Process;

class FullDisk : public testing::CommandLine {
  protected:
    void SetUp() override {
        std::filesystem::create_directories(small_);
        bool made = ::geteuid() == 0 && ::unshare(CLONE_NEWNS) == 0 &&
                    ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                    ::mount("tmpfs", small_.c_str(), "tmpfs", 0, "size=1m") == 0;
        if (!made) GTEST_SKIP() << "needs the right to mount (root)";
        mounted_ = true;
        std::filesystem::create_directories(folder_ + "/etc");
        std::ofstream(folder_ + "/etc/host.toml") << "[host]\nrecordings = \"" << small_ << "\"\n";
        ::setenv("LOCKSTEP_CONFIG", (folder_ + "/etc").c_str(), 1);
    }
    void TearDown() override {
        ::unsetenv("LOCKSTEP_CONFIG");
        if (mounted_) ::umount2(small_.c_str(), MNT_DETACH);
    }
    void fill() {
        std::ofstream file(small_ + "/filler");
        std::string block(4096, 'x');
        while (file.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
        }
    }
    std::string runtime() const { return folder_ + "/run"; }
    std::unique_ptr<Process> start(const std::string& rest, std::vector<std::string> command = {"run"}) {
        command.insert(command.begin() + 1, config(rest));
        command.insert(command.begin(), LOCKSTEP_TOY);
        command.insert(command.end(), {"--runtime", runtime()});
        auto vm = std::make_unique<Process>(command, messages_);
        wait_for_text(messages_, "VM toy: it runs");
        return vm;
    }
    /// The guest prints on.
    void expect_lives(const std::string& runtime) {
        auto printed = [&] { return testing::read_console(runtime + "/toy/console").size(); };
        size_t before = printed();
        EXPECT_TRUE(wait_until([&] { return printed() > before + 100; })) << content_of(messages_);
    }
    static size_t times(const std::string& text, const std::string& part) {
        size_t count = 0;
        for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
        return count;
    }

    std::string small_ = folder_ + "/small";
    std::string messages_ = folder_ + "/messages";
    bool mounted_ = false;
};

TEST_F(FullDisk, BeneathARecordingTheVmGoesOnAndTheRecordingFails) {
    std::string log = small_ + "/toy.log";
    auto vm = start("", {"record", log});
    EXPECT_TRUE(wait_until([&] { return std::filesystem::file_size(log) > 1000; }));
    fill();
    wait_for_text(messages_, "the recording ends here: cannot write log file " + log + ": No space left");
    expect_lives(runtime());
    EXPECT_EQ(run({"poweroff", "toy", "--runtime", runtime()}).status, 0);
    EXPECT_EQ(vm->wait(), 1) << "what was wanted was a recording";
    wait_for_text(messages_, "lockstep: the recording " + log + " is cut short");
    expect_failure(run({"replay", log}), {log, "cut off"});
}

TEST_F(FullDisk, BeneathARecordingThatIsToStart) {
    auto vm = start("");
    fill();
    std::string log = small_ + "/toy.log";
    Outcome outcome = run({"record-start", "toy", log, "--runtime", runtime()});
    if (outcome.status == 0) wait_for_text(messages_, "the recording ends here");
    expect_lives(runtime());
    expect_sentence(run({"record-stop", "toy", "--runtime", runtime()}), {"isn't being recorded"});
    expect_sentence(run({"record-start", "toy", folder_ + "/no/log", "--runtime", runtime()}),
                    {"/no/log", "check the path"});
    EXPECT_EQ(run({"poweroff", "toy", "--runtime", runtime()}).status, 0);
    EXPECT_EQ(vm->wait(), 0);
}

TEST_F(FullDisk, BeneathTheGuestsDiskTheGuestGetsErrorsAndTheOperatorOneSentence) {
    std::ofstream(small_ + "/image").close();
    std::filesystem::resize_file(small_ + "/image", 8 << 20);  // sparse: larger than what is there
    fill();
    auto vm = start("[[disk]]\npath = \"small/image\"\n");
    std::string sentence = "the file system of " + small_ + "/image is full";
    wait_for_text(messages_, sentence);
    expect_lives(runtime());
    EXPECT_EQ(times(content_of(messages_), sentence), 1u) << "not one for each request";
    testing::Json status =
        testing::Json::parse(run({"status", "toy", "--json", "--runtime", runtime()}).output);
    EXPECT_GT(status["traffic"]["disk_errors"], 1);
    EXPECT_EQ(run({"poweroff", "toy", "--runtime", runtime()}).status, 0);
    EXPECT_EQ(vm->wait(), 0);
}

TEST_F(FullDisk, BeneathTheRuntimeFolderNothingStarts) {
    fill();
    Outcome outcome = run({"run", config(""), "--runtime", small_ + "/run"});
    expect_sentence(outcome, {small_ + "/run/toy", "No space left", "free some space"});
}

TEST_F(FullDisk, BeneathTheLogOfAVmThatRuns) {
    std::string runtime = small_ + "/run";
    EXPECT_EQ(run({"run", "--background", config(""), "--runtime", runtime}).status, 0);
    fill();
    EXPECT_EQ(run({"reset", "toy", "--runtime", runtime}).status, 0);
    expect_lives(runtime);
    EXPECT_EQ(run({"poweroff", "toy", "--runtime", runtime}).status, 0);
    EXPECT_TRUE(wait_until([&] { return run({"status", "toy", "--runtime", runtime}).status == 1; }));
}

TEST_F(FullDisk, BeneathTheArbiterNothingStarts) {
    fill();
    Outcome outcome =
        run_vm("[protection]\narbiter = \"small\"\nhosts = [\"127.0.0.1:1\", \"203.0.113.1:1\"]\n");
    expect_sentence(outcome, {"the arbiter of VM toy", small_, "No space left", "free some space"});
}

}  // namespace
}  // namespace lockstep::vmm
