// SPDX-License-Identifier: Apache-2.0
#include "log_command/log_command.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>

#include "../record/sample_log.h"
#include "record/payloads.h"

namespace lockstep {
namespace {

struct Outcome {
    int status;
    std::string out;
    std::string err;
};

/// Runs the program with the arguments, as from a shell.
Outcome run(std::vector<std::string> arguments) {
    CLI::App program("lockstep");
    add_log_commands(program);
    std::ranges::reverse(arguments);  // the order that CLI::App::parse takes
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    int status = 0;
    try {
        program.parse(arguments);
    } catch (const CLI::ParseError& problem) {
        status = program.exit(problem);
    }
    std::fflush(stdout);
    return {status, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

class LogCommand : public testing::Test {
  protected:
    void SetUp() override {
        folder_ =
            std::filesystem::temp_directory_path() / ("lockstep-log-command-" + std::to_string(getpid()));
        std::filesystem::create_directories(folder_);
        record::SeededRandom random(1);
        std::vector<record::Entry> entries = record::sample_entries(random, 30);
        Bytes log = write_log(record::sample_start(), {}, entries, 10, record::Compression::kZstd).bytes;
        good_ = write("good.log", log);
        entries[20] = record::make_entry(entries[20].icount, 9, record::OutputMark{123456});
        other_ = write("other.log",
                       write_log(record::sample_start(), {}, entries, 7, record::Compression::kNone).bytes);
        log.resize(log.size() / 2);
        cut_ = write("cut.log", log);
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    std::string write(const std::string& name, const Bytes& bytes) {
        std::string path = folder_ / name;
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        return path;
    }

    std::filesystem::path folder_;
    std::string good_, other_, cut_;
};

TEST_F(LogCommand, SummaryShowsEachFile) {
    Outcome outcome = run({"log", "summary", good_, other_, "--host-seconds", "2"});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(has(outcome.out, good_) && has(outcome.out, other_)) << outcome.out;
    EXPECT_TRUE(has(outcome.out, "bytes per host second")) << outcome.out;
}

TEST_F(LogCommand, VerifyTellsGoodFromCutAndShowsTheRest) {
    EXPECT_EQ(run({"log", "verify", good_, other_}).status, 0);
    Outcome outcome = run({"log", "verify", cut_, good_});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_TRUE(has(outcome.err, "lockstep: " + cut_ + ": at byte ")) << outcome.err;
    EXPECT_TRUE(has(outcome.err, "the log is cut off")) << outcome.err;
    EXPECT_TRUE(has(outcome.out, good_ + ": whole and undamaged, 30 entries")) << outcome.out;
}

TEST_F(LogCommand, EntriesFollowTheirOptions) {
    auto lines = [&](std::vector<std::string> options) {
        std::vector<std::string> arguments = {"log", "entries", good_};
        arguments.insert(arguments.end(), options.begin(), options.end());
        return std::ranges::count(run(arguments).out, '\n');
    };
    EXPECT_EQ(lines({}), 30);
    EXPECT_EQ(lines({"--first", "25"}), 5);
    EXPECT_EQ(lines({"--first", "3", "--count", "4"}), 4);
    Outcome hashes = run({"log", "hashes", good_});
    EXPECT_GT(hashes.out.size(), 0u);
    EXPECT_EQ(hashes.out, run({"log", "entries", good_, "--kind", "StateHash"}).out);
    EXPECT_NE(run({"log", "entries", good_, "--kind", "Nonsense"}).status, 0);
}

TEST_F(LogCommand, DiffFindsTheFirstDifference) {
    EXPECT_EQ(run({"log", "diff", good_, good_}).status, 0);
    Outcome outcome = run({"log", "diff", good_, other_});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_TRUE(has(outcome.err, "differ from log position 20 on")) << outcome.err;
    EXPECT_TRUE(has(outcome.out, "output 123456")) << outcome.out;
}

TEST_F(LogCommand, AMissingFileAndAFolderAreNamed) {
    Outcome outcome = run({"log", "verify", folder_ / "none.log"});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_TRUE(has(outcome.err, "none.log: cannot open it (No such file or directory)")) << outcome.err;
    outcome = run({"log", "verify", folder_});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_TRUE(has(outcome.err, "check")) << outcome.err;
}

}  // namespace
}  // namespace lockstep
