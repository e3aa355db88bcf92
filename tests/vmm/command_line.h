// SPDX-License-Identifier: Apache-2.0
// What tests of the command line share: a folder with a toy's configuration, and a way to run commands.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "pair_harness.h"

namespace lockstep::vmm::testing {

struct Outcome {
    int status;
    std::string output;
};

inline std::string content_of(const std::string& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

class CommandLine : public ::testing::Test {
  protected:
    CommandLine() {
        ::setenv("LOCKSTEP_INSECURE", "1", 1);  // what these tests are about needs no cluster
        char name[] = "/tmp/lockstep-command-XXXXXX";
        folder_ = ::mkdtemp(name);
        std::filesystem::permissions(folder_, std::filesystem::perms(0755));
        std::ofstream(folder_ + "/disk").close();
        std::filesystem::resize_file(folder_ + "/disk", 1 << 20);
        std::filesystem::create_directories(folder_ + "/arbiter");
    }
    ~CommandLine() override { std::filesystem::remove_all(folder_); }

    /// Runs a command to its end. `before`: what it is run by, as in {"/usr/bin/nice"}.
    Outcome run(std::vector<std::string> arguments, const std::string& program = LOCKSTEP_TOY,
                const std::vector<std::string>& before = {}) {
        std::string log = folder_ + "/output";
        std::filesystem::remove(log);
        arguments.insert(arguments.begin(), program);
        arguments.insert(arguments.begin(), before.begin(), before.end());
        Process process(arguments, log);
        int status = process.wait();
        return {status, content_of(log)};
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
    /// It failed, and says these.
    static void expect_failure(const Outcome& outcome, const std::vector<std::string>& parts,
                               int status = 1) {
        EXPECT_EQ(outcome.status, status) << outcome.output;
        for (const std::string& part : parts)
            EXPECT_NE(outcome.output.find(part), std::string::npos)
                << "\"" << part << "\" in: " << outcome.output;
    }
    /// The same in one line, and nothing else.
    static void expect_sentence(const Outcome& outcome, const std::vector<std::string>& parts,
                                int status = 1) {
        expect_failure(outcome, parts, status);
        EXPECT_EQ(std::ranges::count(outcome.output, '\n'), 1) << outcome.output;
        EXPECT_TRUE(outcome.output.starts_with("lockstep: ")) << outcome.output;
    }
    static bool wait_until(const std::function<bool()>& true_now) {
        for (int i = 0; i < 2000; ++i) {
            if (true_now()) return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return false;
    }
    static void wait_for_text(const std::string& path, const std::string& text) {
        EXPECT_TRUE(wait_until([&] { return content_of(path).find(text) != std::string::npos; }))
            << "\"" << text << "\" in: " << content_of(path);
    }

    std::string folder_;
};

}  // namespace lockstep::vmm::testing
