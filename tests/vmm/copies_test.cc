// SPDX-License-Identifier: Apache-2.0
// Copies of a running guest, for a new backup or into a recording: what they say of themselves, and what ends them.
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>

#include "host/files.h"
#include "pair_harness.h"

namespace lockstep::vmm {
namespace {

using testing::expect_goes_on;
using testing::Json;
using testing::Pair;
using testing::sleep_ms;

/// From now on a copy takes a second.
void make_copies_slow(Pair& pair) {
    std::string config = pair.folder + "/toy.toml";
    std::string text = host::read_text(config).take();
    std::ofstream(config) << text << "copy_rate = \"1 MiB\"\n";
}

std::string copy_phase(Pair& pair, const std::string& host) {
    return pair.status(host).value("copy", Json::object()).value("phase", "");
}

TEST(Copies, ACopyGoesNoFasterThanItMayAndSaysHowFarItIs) {
    Pair pair;
    make_copies_slow(pair);
    auto vm = pair.start_vm("a");
    Json copy;
    pair.wait_for("the first round", [&] {
        copy = pair.status("a").value("copy", Json::object());
        return copy.value("phase", "") == "round" && copy.value("bytes_of", 0) > 0;  // once it was looked for
    });
    EXPECT_EQ(copy["round"], 1);
    EXPECT_GT(copy["bytes_of"], copy["bytes_done"]);
    int before = pair.checked_lines("a");
    expect_goes_on(pair, "a", before);
    pair.wait_for_state("a", "Protected");
    EXPECT_EQ(copy_phase(pair, "a"), "");
    EXPECT_GT(pair.status("a")["copy"]["cut_ms"], 0);
    pair.wait_for("hashes are compared", [&] { return pair.status("b").value("state_hashes", 0) > 5; });
    pair.signal("a", SIGKILL);
    expect_goes_on(pair, "b", pair.checked_lines("b"));
}

TEST(Copies, ACopyThatIsntWantedAnyMoreEndsAtOnce) {
    Pair pair;
    make_copies_slow(pair);
    auto vm = pair.start_vm("a");
    pair.wait_for("a copy", [&] { return copy_phase(pair, "a") == "round"; });
    EXPECT_TRUE(pair.act("a", {{"action", "unprotect"}}).contains("done"));
    pair.wait_for("the backup ends", [&] { return pair.process("b") == 0; });
    EXPECT_EQ(pair.state("a"), "Solo");
    expect_goes_on(pair, "a", pair.checked_lines("a"));
    EXPECT_TRUE(pair.act("a", {{"action", "protect"}}).contains("done"));
    pair.wait_for_state("a", "Protected");
}

TEST(Copies, ABackupThatDiesWhileItsCopyComesHarmsNobody) {
    Pair pair;
    make_copies_slow(pair);
    auto vm = pair.start_vm("a");
    for (int round = 0; round < 3; ++round) {
        pair.wait_for("a copy comes", [&] { return copy_phase(pair, "b") == "coming"; });
        sleep_ms(static_cast<unsigned>(round) * 300);
        if (copy_phase(pair, "b") == "coming") pair.signal("b", SIGKILL);
        pair.wait_for("a is alone", [&] { return copy_phase(pair, "a") == ""; });
        expect_goes_on(pair, "a", pair.checked_lines("a"));
    }
    pair.wait_for_state("a", "Protected");
}

TEST(Copies, ABackupWhosePrimaryDiesWhileItIsCopiedEnds) {
    Pair pair;
    make_copies_slow(pair);
    auto vm = pair.start_vm("a");
    pair.wait_for("a copy comes", [&] { return copy_phase(pair, "b") == "coming"; });
    pair.signal("a", SIGKILL);
    pair.wait_for("the backup ends", [&] { return pair.process("b") == 0; });
}

TEST(Copies, AGuestThatIsResetWhileItIsCopiedIsCopiedAnew) {
    Pair pair;
    make_copies_slow(pair);
    auto vm = pair.start_vm("a");
    pair.wait_for("a copy", [&] { return copy_phase(pair, "a") == "round"; });
    pair.act("a", {{"action", "reset"}});
    pair.wait_for("that copy is void", [&] {
        std::ifstream log(pair.folder + "/log.a");
        return std::string(std::istreambuf_iterator<char>(log), {}).find("the guest was reset while") !=
               std::string::npos;
    });
    pair.wait_for_state("a", "Protected");
    pair.wait_for("hashes are compared", [&] { return pair.status("b").value("state_hashes", 0) > 5; });
}

TEST(Copies, AGuestThatIsSwitchedOffWhileItIsCopiedIsOffOnBothSides) {
    Pair pair;
    make_copies_slow(pair);
    auto vm = pair.start_vm("a");
    pair.wait_for("a copy", [&] { return copy_phase(pair, "a") == "round"; });
    EXPECT_TRUE(pair.act("a", {{"action", "failover"}}).contains("error")) << "there is no complete backup";
    pair.act("a", {{"action", "poweroff"}});
    EXPECT_EQ(vm->wait(), 0);
    pair.wait_for("the backup ends", [&] { return pair.process("b") == 0; });
}

/// The log of a copied guest has a cut in it, which a replay must do as well.
TEST(Copies, ARecordingOfAGuestThatIsCopiedReplays) {
    Pair pair;
    std::string path = pair.folder + "/rec.log";
    auto vm = pair.start_vm("a");
    pair.wait_for_state("a", "Protected");
    pair.act("a", {{"action", "unprotect"}});
    pair.wait_for_state("a", "Solo");
    EXPECT_TRUE(pair.act("a", {{"action", "record-start"}, {"path", path}}).contains("done"));
    EXPECT_TRUE(pair.act("a", {{"action", "protect"}}).contains("done"));
    pair.wait_for_state("a", "Protected");
    pair.wait_for("the recording has begun", [&] { return pair.status("a")["recording"] == path; });
    sleep_ms(300);
    EXPECT_TRUE(pair.act("a", {{"action", "record-stop"}}).contains("done"));
    testing::Process replay({LOCKSTEP_TOY, "replay", path}, pair.folder + "/replay.out");
    EXPECT_EQ(replay.wait(), 0) << host::read_text(pair.folder + "/replay.out").value();
    std::ifstream file(path);
    std::string log(std::istreambuf_iterator<char>(file), {});
    EXPECT_GT(log.size(), 0u);
    EXPECT_GT(pair.status("a")["entries"].value("Cut", Json::object()).value("count", 0), 1);
}

TEST(Copies, ARecordingOfARunningVmReplays) {
    Pair pair;
    pair.start();
    pair.act("a", {{"action", "unprotect"}});
    pair.wait_for_state("a", "Solo");
    std::string path = pair.folder + "/rec.log";
    EXPECT_TRUE(pair.act("a", {{"action", "record-start"}, {"path", path}}).contains("done"));
    pair.wait_for("the recording has begun", [&] { return pair.status("a")["recording"] == path; });
    pair.type("a", "hello");
    pair.wait_for("an echo", [&] { return pair.console("a").find("echo hello") != std::string::npos; });
    EXPECT_TRUE(pair.act("a", {{"action", "record-stop"}}).contains("done"));
    testing::Process replay({LOCKSTEP_TOY, "replay", path, "--console"}, pair.folder + "/replay.out");
    EXPECT_EQ(replay.wait(), 0);
    std::ifstream output(pair.folder + "/replay.out");
    std::string text(std::istreambuf_iterator<char>(output), {});
    EXPECT_NE(text.find("echo hello"), std::string::npos);
    EXPECT_NE(text.find("to the log's end"), std::string::npos) << text;
}

}  // namespace
}  // namespace lockstep::vmm
