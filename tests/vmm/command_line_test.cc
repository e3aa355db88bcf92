// Mistakes of the operator: each gets one sentence that names the thing and the remedy, and a proper exit
// status.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "pair_harness.h"

namespace lockstep::vmm {
namespace {

using testing::Process;

struct Outcome {
    int status;
    std::string output;
};

class CommandLine : public ::testing::Test {
  protected:
    CommandLine() {
        char name[] = "/tmp/lockstep-command-XXXXXX";
        folder_ = ::mkdtemp(name);
        std::ofstream(folder_ + "/disk").close();
        std::filesystem::resize_file(folder_ + "/disk", 1 << 20);
        std::filesystem::create_directories(folder_ + "/arbiter");
    }
    ~CommandLine() override { std::filesystem::remove_all(folder_); }

    Outcome run(std::vector<std::string> arguments) {
        std::string log = folder_ + "/output";
        std::filesystem::remove(log);
        arguments.insert(arguments.begin(), LOCKSTEP_TOY);
        Process process(arguments, log);
        int status = process.wait();
        std::stringstream text;
        text << std::ifstream(log).rdbuf();
        return {status, text.str()};
    }
    std::string config(const std::string& rest) {
        std::ofstream(folder_ + "/toy.toml")
            << "[vm]\nname = \"toy\"\nkernel = \"/dev/null\"\nmemory = \"64 MiB\"\n"
            << rest;
        return folder_ + "/toy.toml";
    }
    Outcome run_vm(const std::string& rest, const std::vector<std::string>& more = {}) {
        std::vector<std::string> arguments = {"run", config(rest), "--runtime", folder_ + "/run"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run(arguments);
    }
    void expect_sentence(const Outcome& outcome, const std::vector<std::string>& parts) {
        EXPECT_EQ(outcome.status, 1) << outcome.output;
        for (const std::string& part : parts)
            EXPECT_NE(outcome.output.find(part), std::string::npos)
                << "\"" << part << "\" in: " << outcome.output;
    }

    std::string folder_;
};

TEST_F(CommandLine, NonsenseIsRefused) {
    EXPECT_EQ(run({}).status, 2);
    EXPECT_EQ(run({"rnu"}).status, 2);
    EXPECT_EQ(run({"run"}).status, 2);
    EXPECT_EQ(run({"--help"}).status, 0);
}

TEST_F(CommandLine, AMissingConfiguration) {
    expect_sentence(run({"run", folder_ + "/none.toml"}), {"none.toml", "check the path"});
}

TEST_F(CommandLine, ABadConfiguration) {
    expect_sentence(run({"check", config("[vm2]\n")}), {"toy.toml:5", "vm2"});
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

TEST_F(CommandLine, ABusyPort) {
    std::string address = "127.0.0.1:" + std::to_string(testing::free_port());
    Process first({LOCKSTEP_TOY, "serve", "--listen", address, "--runtime", folder_}, folder_ + "/first");
    std::string output;
    for (int i = 0; i < 100 && output.find("takes backups") == std::string::npos; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        std::stringstream text;
        text << std::ifstream(folder_ + "/first").rdbuf();
        output = text.str();
    }
    expect_sentence(run({"serve", "--listen", address, "--runtime", folder_}), {address});
}

TEST_F(CommandLine, AnAddressOfAnotherHost) {
    expect_sentence(run({"serve", "--listen", "192.0.2.1:7700", "--runtime", folder_}), {"192.0.2.1:7700"});
}

TEST_F(CommandLine, AVmThatDoesNotRun) {
    expect_sentence(run({"poweroff", "nobody", "--runtime", folder_}), {"no VM nobody runs on this host"});
    EXPECT_EQ(run({"status", "--runtime", folder_}).status, 0);
}

TEST_F(CommandLine, ALogThatIsNone) {
    std::ofstream(folder_ + "/notes")
        << "this is no log, but it is long enough to be looked at as a header of one";
    expect_sentence(run({"replay", folder_ + "/notes"}), {folder_ + "/notes"});
    expect_sentence(run({"replay", folder_ + "/gone"}), {folder_ + "/gone"});
}

TEST_F(CommandLine, ALogThatIsCutOrDamaged) {
    std::string log = folder_ + "/toy.log";
    Process recorder({LOCKSTEP_TOY, "record", config(""), log, "--runtime", folder_ + "/run"},
                     folder_ + "/recorder");
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_EQ(run({"poweroff", "toy", "--runtime", folder_ + "/run"}).status, 0);
    EXPECT_EQ(recorder.wait(), 0);
    Outcome whole = run({"replay", log});
    EXPECT_EQ(whole.status, 0) << whole.output;
    EXPECT_NE(whole.output.find("to the log's end"), std::string::npos) << whole.output;

    std::filesystem::copy_file(log, folder_ + "/cut");
    std::filesystem::resize_file(folder_ + "/cut", std::filesystem::file_size(log) - 100);
    expect_sentence(run({"replay", folder_ + "/cut"}), {folder_ + "/cut"});

    std::filesystem::copy_file(log, folder_ + "/damaged");
    std::fstream damaged(folder_ + "/damaged", std::ios::in | std::ios::out | std::ios::binary);
    damaged.seekp(static_cast<std::streamoff>(std::filesystem::file_size(log) / 2));
    damaged.write("damage", 6);
    damaged.close();
    expect_sentence(run({"replay", folder_ + "/damaged"}), {folder_ + "/damaged"});
}

}  // namespace
}  // namespace lockstep::vmm
