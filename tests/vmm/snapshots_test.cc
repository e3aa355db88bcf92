// SPDX-License-Identifier: Apache-2.0
// Recordings and snapshots of VMs that run, protected or not, with toy guests.
#include <gtest/gtest.h>

#include "host/files.h"
#include "pair_harness.h"

namespace lockstep::vmm {
namespace {

using testing::Json;
using testing::Pair;
using testing::Process;

std::string replayed(Pair& pair, const std::string& path) {
    Process replay({LOCKSTEP_TOY, "replay", path, "--console"}, pair.folder + "/replay.out");
    EXPECT_EQ(replay.wait(), 0);
    return host::read_text(pair.folder + "/replay.out").value();
}

TEST(Snapshots, ARecordingOfAProtectedVmReplaysAndTheVmStaysProtected) {
    Pair pair;
    pair.start();
    std::string path = pair.folder + "/rec.log";
    EXPECT_TRUE(pair.act("a", {{"action", "record-start"}, {"path", path}}).contains("done"));
    EXPECT_TRUE(pair.act("a", {{"action", "record-start"}, {"path", path + "2"}}).contains("error"));
    pair.wait_for("the recording has begun", [&] { return pair.status("a")["recording"] == path; });
    pair.type("a", "hello");
    pair.wait_for("an echo", [&] { return pair.console("a").find("echo hello") != std::string::npos; });
    EXPECT_TRUE(pair.act("a", {{"action", "record-stop"}}).contains("done"));
    EXPECT_EQ(pair.state("a"), "Protected");
    std::string text = replayed(pair, path);
    EXPECT_NE(text.find("echo hello"), std::string::npos) << text;
    EXPECT_NE(text.find("to the log's end"), std::string::npos) << text;
    int hashes = pair.status("b")["state_hashes"];
    pair.wait_for("the backup still has equal hashes",
                  [&] { return pair.status("b")["state_hashes"] > hashes; });
    // What was recorded goes on as a pair, too.
    pair.signal("a", SIGKILL);
    pair.wait_for_state("b", "Protected");
}

TEST(Snapshots, AVmGoesOnFromASnapshot) {
    Pair pair;
    auto vm = pair.start_vm("a");
    pair.wait_for_state("a", "Protected");
    pair.wait_for("some lines", [&] { return pair.checked_lines("a") > 3; });
    std::string path = pair.folder + "/toy.snapshot";
    Process snapshot({LOCKSTEP_TOY, "snapshot", "toy", path, "--runtime", pair.runtime("a")},
                     pair.folder + "/snapshot.out");
    ASSERT_EQ(snapshot.wait(), 0) << host::read_text(pair.folder + "/snapshot.out").value();
    EXPECT_NE(replayed(pair, path).find("to the log's end"), std::string::npos);
    EXPECT_EQ(pair.state("a"), "Protected");
    EXPECT_EQ(pair.status("a")["recording"], "");

    EXPECT_EQ(pair.start_vm("a", "toy", {"--from", path})->wait(), 1) << "it runs already";

    int last = pair.checked_lines("a");
    pair.act("a", {{"action", "poweroff"}});
    EXPECT_EQ(vm->wait(), 0);
    pair.wait_for("the backup ends", [&] { return pair.process("b") == 0; });
    auto again = pair.start_vm("a", "toy", {"--from", path});
    pair.wait_for_state("a", "Protected");
    pair.wait_for("lines", [&] { return pair.console("a").find('\n') != std::string::npos; });
    int first = std::stoi(pair.console("a"));
    EXPECT_GT(first, 3) << "not from power-on";
    EXPECT_LE(first, last + 1);
    int hashes = pair.status("b")["state_hashes"];
    pair.wait_for("the backup has equal hashes", [&] { return pair.status("b")["state_hashes"] > hashes; });
    pair.act("a", {{"action", "poweroff"}});
    EXPECT_EQ(again->wait(), 0);
}

TEST(Snapshots, WhatIsNoSnapshotIsRefused) {
    Pair pair;
    std::string wrong = pair.folder + "/wrong";
    ASSERT_TRUE(host::write_file_atomically(wrong, Bytes(1000, 'x')));
    EXPECT_EQ(pair.start_vm("a", "toy", {"--from", wrong})->wait(), 1);
    EXPECT_NE(host::read_text(pair.folder + "/log.a").value().find(wrong), std::string::npos);
}

}  // namespace
}  // namespace lockstep::vmm
