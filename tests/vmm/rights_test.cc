// SPDX-License-Identifier: Apache-2.0
// Mistakes of rights: a user who is not root.
#include <unistd.h>

#include "command_line.h"

namespace lockstep::vmm {
namespace {

using testing::Outcome;
using testing::Process;

class Unprivileged : public testing::CommandLine {
  protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody else";
        std::filesystem::create_directories(runtime_);
        ASSERT_EQ(::chown(runtime_.c_str(), kNobody, kNobody), 0);
    }
    Outcome run_as_nobody(const std::vector<std::string>& arguments) {
        return run(arguments, LOCKSTEP_TOY, kAsNobody);
    }
    Outcome run_vm_as_nobody(const std::string& rest) {
        return run_as_nobody({"run", config(rest), "--runtime", runtime_});
    }

    static constexpr uid_t kNobody = 65534;
    const std::vector<std::string> kAsNobody = {"/usr/bin/setpriv", "--reuid=65534", "--regid=65534",
                                                "--clear-groups"};
    std::string runtime_ = folder_ + "/of-nobody";
};

TEST_F(Unprivileged, ADiskThatCannotBeWritten) {
    Outcome outcome = run_vm_as_nobody("[[disk]]\npath = \"disk\"\n");
    expect_sentence(outcome, {folder_ + "/disk", "Permission denied", "give this user the right"});
}

TEST_F(Unprivileged, ATapWithoutTheRight) {
    Outcome outcome = run_vm_as_nobody("[[network]]\ntap = \"lsteptap9\"\nmac = \"52:54:00:00:00:01\"\n");
    expect_sentence(outcome, {"network lsteptap9", "root"});
}

TEST_F(Unprivileged, AnArbiterFolderWithoutTheRight) {
    std::string protection = R"(hosts = ["127.0.0.1:1", "203.0.113.1:1"])";
    Outcome outcome = run_vm_as_nobody("[protection]\narbiter = \"arbiter\"\n" + protection + "\n");
    expect_sentence(outcome, {folder_ + "/arbiter", "Permission denied", "give this user the right"});
}

TEST_F(Unprivileged, ARuntimeFolderWithoutTheRight) {
    Outcome outcome = run_as_nobody({"run", config(""), "--runtime", folder_ + "/run"});
    expect_sentence(outcome, {folder_ + "/run", "give this user the right"});
    outcome = run_as_nobody({"serve", "--listen", "127.0.0.1:0", "--runtime", folder_ + "/run"});
    expect_sentence(outcome, {folder_ + "/run", "give this user the right"});
}

TEST_F(Unprivileged, ALowPort) {
    Outcome outcome = run_as_nobody({"serve", "--listen", "127.0.0.1:70", "--runtime", runtime_});
    if (outcome.status != -1) expect_sentence(outcome, {"TCP port 70", "above 1023"});
}

TEST_F(Unprivileged, AVmOfAnotherUser) {
    Process vm({LOCKSTEP_TOY, "run", config(""), "--runtime", folder_ + "/run"}, folder_ + "/vm");
    wait_for_text(folder_ + "/vm", "VM toy: it runs");
    Outcome outcome = run_as_nobody({"poweroff", "toy", "--runtime", folder_ + "/run"});
    expect_sentence(outcome, {folder_ + "/run/toy", "Permission denied"}, 6);
    EXPECT_EQ(run({"poweroff", "toy", "--runtime", folder_ + "/run"}).status, 0);
    EXPECT_EQ(vm.wait(), 0);
}

}  // namespace
}  // namespace lockstep::vmm
