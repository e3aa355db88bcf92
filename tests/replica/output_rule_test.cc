// SPDX-License-Identifier: Apache-2.0
// Outputs wait for the backup, and leave only while nobody else can act.
#include <gtest/gtest.h>

#include "pair.h"

namespace lockstep::replica {
namespace {

bool may_release(const Pair& pair, LogPos entry) { return pair.primary.replica.may_release(entry, pair.now); }

TEST(OutputRule, AnOwnerAloneLetsOutputsOutAtOnce) {
    Pair pair;
    LogPos entry = pair.entry(record::EntryKind::kOutput);
    EXPECT_EQ(pair.primary.replica.on_output(pair.now, entry), OutputFate::kRelease);
    EXPECT_TRUE(may_release(pair, entry));
    EXPECT_FALSE(pair.primary.replica.wants_log());
}

TEST(OutputRule, AnOutputWaitsForTheAcknowledgementOfItsEntry) {
    Pair pair;
    pair.protect(3);
    LogPos entry = pair.entry(record::EntryKind::kOutput);
    EXPECT_EQ(pair.primary.replica.on_output(pair.now, entry), OutputFate::kHold);
    pair.flush();
    EXPECT_FALSE(may_release(pair, entry));
    EXPECT_EQ(pair.primary.last<ReleaseOutputs>(), nullptr);
    pair.carry();
    EXPECT_TRUE(may_release(pair, entry));
    ASSERT_NE(pair.primary.last<ReleaseOutputs>(), nullptr);
    EXPECT_EQ(pair.primary.last<ReleaseOutputs>()->up_to, entry + 1);
}

TEST(OutputRule, TheAcknowledgementComesOnReceiptNotOnExecution) {
    Pair pair;
    pair.protect();
    pair.output();
    pair.carry();
    EXPECT_EQ(pair.primary.replica.status(pair.now).acknowledged, LogPos(1));
    EXPECT_EQ(pair.primary.replica.status(pair.now).replayed, LogPos(0));
    pair.replay_all();
    pair.run(50);
    EXPECT_EQ(pair.primary.replica.status(pair.now).replayed, LogPos(1));
}

TEST(OutputRule, EntriesThatNoOutputWaitsForGather) {
    Pair pair;
    pair.protect();
    Replica& primary = pair.primary.replica;
    auto flush = [&](Flush when) {
        primary.on_flush(pair.now, pair.icount, when);
        pair.primary.collect();
        return pair.primary.channel.size();
    };
    pair.output();
    pair.carry();
    EXPECT_EQ(primary.due_ms(), std::nullopt);
    pair.entry(record::EntryKind::kDiskCompletion);
    EXPECT_EQ(flush(Flush::kIfDue), 0u);
    ASSERT_EQ(primary.due_ms(), pair.now + config_of(kPrimaryId).timing.gather_ms);
    pair.now = *primary.due_ms();
    pair.entry(record::EntryKind::kDiskCompletion);
    EXPECT_EQ(flush(Flush::kIfDue), 1u);
    EXPECT_EQ(primary.due_ms(), std::nullopt);
    pair.entry(record::EntryKind::kOutput);
    EXPECT_EQ(flush(Flush::kNow), 2u);
    pair.carry();
    EXPECT_EQ(primary.status(pair.now).acknowledged, LogPos(4));
}

TEST(OutputRule, OneEntryDoesNotReleaseTheNextOutput) {
    Pair pair;
    pair.protect();
    LogPos first = pair.output();
    pair.carry();
    pair.channel_cut = pair.datagrams_cut = true;
    LogPos second = pair.output();
    EXPECT_TRUE(may_release(pair, first));
    EXPECT_FALSE(may_release(pair, second));
}

TEST(OutputRule, ABackupsOutputsAreDropped) {
    Pair pair;
    pair.protect();
    EXPECT_EQ(pair.backup.replica.on_output(pair.now, LogPos(0)), OutputFate::kDrop);
    EXPECT_FALSE(pair.backup.replica.may_release(LogPos(0), pair.now));
}

TEST(OutputRule, AnAcknowledgementInADatagramCounts) {
    Pair pair;
    pair.protect();
    LogPos entry = pair.output();
    for (Bytes& bytes : pair.primary.channel) pair.backup.replica.on_channel_message(pair.now, bytes);
    pair.primary.channel.clear();
    pair.backup.collect();
    pair.backup.channel.clear();  // the Ack is late
    EXPECT_FALSE(may_release(pair, entry));
    pair.channel_cut = true;
    pair.run(60);
    EXPECT_TRUE(may_release(pair, entry));
}

TEST(OutputRule, ALeaseEndsAndIsRenewed) {
    Pair pair;
    pair.protect();
    LogPos entry = pair.output();
    pair.carry();
    uint64_t lease = Timing{}.lease_ms;
    EXPECT_TRUE(may_release(pair, entry));
    EXPECT_FALSE(pair.primary.replica.may_release(entry, pair.now + lease));
    pair.datagrams_cut = pair.channel_cut = true;
    pair.run(lease);
    EXPECT_FALSE(may_release(pair, entry)) << "the backup has not been heard for the length of the lease";
    EXPECT_EQ(pair.primary.state(), State::kProtected);
    pair.datagrams_cut = pair.channel_cut = false;
    pair.run(100);
    EXPECT_TRUE(may_release(pair, entry));
    EXPECT_EQ(pair.primary.state(), State::kProtected);
}

TEST(OutputRule, TheLeaseCountsFromTheSendingOfWhatWasEchoed) {
    Pair pair;
    pair.protect();
    LogPos entry = pair.output();
    pair.carry();
    // The backup answers a heartbeat at once, and the answer takes 200 ms.
    pair.run(60);
    pair.backup_stopped = true;
    pair.primary_stopped = true;
    uint64_t echoed = pair.now;
    pair.now += 200;
    pair.backup.replica.on_replayed(pair.now, LogPos(1), Icount(1000));
    pair.backup.collect();
    pair.primary_stopped = false;
    pair.carry();
    EXPECT_TRUE(pair.primary.replica.may_release(entry, echoed + Timing{}.lease_ms - 60));
    EXPECT_FALSE(pair.primary.replica.may_release(entry, echoed + Timing{}.lease_ms))
        << "an old echo must not prolong the lease";
}

TEST(OutputRule, AFullBufferStopsTheGuestAndLagSlowsIt) {
    Pair pair;
    pair.protect();
    Bytes large(1u << 20, 1);
    for (uint64_t i = 0; i < 65; ++i) {
        pair.primary.replica.on_entry(pair.now, LogPos(i), record::EntryKind::kNetworkReceive, large);
        pair.flush();
        pair.carry();
    }
    pair.run(20);
    ASSERT_NE(pair.primary.last<StopVm>(), nullptr);
    EXPECT_EQ(pair.primary.last<StopVm>()->reason, StopReason::kBufferFull);
    pair.run(600);
    ASSERT_NE(pair.primary.last<SetSpeed>(), nullptr);
    EXPECT_LT(pair.primary.last<SetSpeed>()->permille, 1000u);
    EXPECT_EQ(pair.primary.state(), State::kProtected);
    EXPECT_GE(pair.primary.replica.status(pair.now).lag_ms, 600u);
    EXPECT_EQ(pair.primary.last<StartVm>(), nullptr);
    pair.replay_all();
    pair.carry();
    EXPECT_NE(pair.primary.last<StartVm>(), nullptr) << "at once, not with the next heartbeat";
    pair.run(2000);
    EXPECT_EQ(pair.primary.last<SetSpeed>()->permille, 1000u);
}

}  // namespace
}  // namespace lockstep::replica
