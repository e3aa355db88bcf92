// SPDX-License-Identifier: Apache-2.0
// Failures of either side and of what joins them, one by one. All of them at once: tests/sim.
#include <gtest/gtest.h>

#include "pair.h"
#include "replica/message.h"

namespace lockstep::replica {
namespace {

constexpr uint64_t kFailure = 500;

void answer(Side& side, uint64_t now, ArbiterAnswer what) {
    ASSERT_NE(side.last<Claim>(), nullptr);
    side.replica.on_arbiter(now, side.last<Claim>()->term, what);
    side.collect();
}

TEST(FailOver, AKilledPrimaryIsReplacedOnceTheLogIsConsumed) {
    Pair pair;
    pair.protect();
    pair.output();
    pair.carry();
    pair.primary_stopped = true;
    pair.backup.replica.on_channel_closed(pair.now, ChannelEnd::kPeerClosed);
    pair.backup.collect();
    EXPECT_EQ(pair.backup.state(), State::kBackupClaiming);
    ASSERT_NE(pair.backup.last<Claim>(), nullptr);
    EXPECT_EQ(pair.backup.last<Claim>()->term, Term(2));
    answer(pair.backup, pair.now, ArbiterAnswer::kWon);
    EXPECT_EQ(pair.backup.state(), State::kGoingLive);
    pair.run(kFailure);
    EXPECT_EQ(pair.backup.last<GoLive>(), nullptr) << "an acknowledged entry has not been executed";
    pair.replay_all();
    ASSERT_NE(pair.backup.last<GoLive>(), nullptr);
    EXPECT_EQ(pair.backup.last<GoLive>()->term, Term(2));
    EXPECT_EQ(pair.backup.last<GoLive>()->position, LogPos(1));
    EXPECT_EQ(pair.backup.state(), State::kSolo);
    pair.run(Timing{}.recovery_ms - 50);
    EXPECT_EQ(pair.backup.count<AskForBackup>(), 0u) << "clients are answered before the guest stops again";
    pair.run(100);
    EXPECT_GE(pair.backup.count<AskForBackup>(), 1u) << "redundancy is restored without anyone asking";
    EXPECT_TRUE(pair.backup.replica.may_release(LogPos(0), pair.now));
}

TEST(FailOver, WhatHasLeftIsNotSentAgain) {
    Pair pair;
    pair.protect();
    pair.output();
    LogPos last_known = pair.output();
    pair.carry();
    ASSERT_NE(pair.primary.last<ReleaseOutputs>(), nullptr);
    pair.primary.replica.on_left(pair.primary.last<ReleaseOutputs>()->up_to);
    pair.run(Timing{}.heartbeat_ms + 20);
    LogPos unknown = pair.output();
    pair.carry();  // acknowledged; but who knows whether the primary got to letting it out
    pair.primary_stopped = true;
    pair.backup.replica.on_channel_closed(pair.now, ChannelEnd::kPeerClosed);
    pair.backup.collect();
    answer(pair.backup, pair.now, ArbiterAnswer::kWon);
    pair.replay_all();
    pair.run(kFailure);
    ASSERT_NE(pair.backup.last<GoLive>(), nullptr);
    EXPECT_EQ(pair.backup.last<GoLive>()->left_before, last_known + 1);
    EXPECT_LE(pair.backup.last<GoLive>()->left_before, unknown);
}

TEST(FailOver, TheBackupOfAPrimaryThatASignalEndedIsCareful) {
    Pair pair;
    EXPECT_FALSE(pair.primary.replica.last_words()) << "nobody is to be told";
    pair.protect();
    pair.output();
    pair.carry();
    std::optional<Bytes> words = pair.primary.replica.last_words();
    ASSERT_TRUE(words);
    pair.primary_stopped = true;
    for (int i = 0; i < 3; ++i) pair.backup.replica.on_datagram(pair.now, *words);
    pair.backup.collect();
    EXPECT_EQ(pair.backup.count<BeCareful>(), 1u) << "what is left of the log is replayed with care, too";
    EXPECT_EQ(pair.backup.state(), State::kReplaying) << "words alone decide nothing";
    pair.backup.replica.on_channel_closed(pair.now, ChannelEnd::kPeerClosed);
    pair.backup.collect();
    EXPECT_EQ(pair.backup.state(), State::kBackupClaiming);
    answer(pair.backup, pair.now, ArbiterAnswer::kWon);
    pair.replay_all();
    pair.run(kFailure);
    EXPECT_NE(pair.backup.last<GoLive>(), nullptr);
    EXPECT_EQ(pair.backup.count<BeCareful>(), 1u);
}

TEST(FailOver, LastWordsOfAnotherProcessOrTermAreNotHeard) {
    Pair pair, other;
    pair.protect();
    other.protect();
    std::optional<Bytes> words = other.primary.replica.last_words();
    ASSERT_TRUE(words);
    Envelope envelope = decode(*words).take();
    for (auto change : {+[](Header& header) { ++header.vm; }, +[](Header& header) { ++header.sender; },
                        +[](Header& header) { header.term = Term(0); }}) {
        Header header = envelope.header;
        change(header);
        pair.backup.replica.on_datagram(pair.now, encode(header, Crashed{}));
        pair.backup.collect();
        EXPECT_EQ(pair.backup.count<BeCareful>(), 0u);
    }
}

TEST(FailOver, PacketsOfTheDeadPrimaryAreTakenInBeforeTheGuestIsLiveAndAfter) {
    Pair pair, other;
    pair.protect();
    other.protect();
    std::optional<Bytes> words = pair.primary.replica.last_words();
    ASSERT_TRUE(words);
    const Bytes packets = {1, 2, 3};
    Bytes orphans = encode_orphans(*words, 5, packets);
    auto comes = [&] {
        size_t before = pair.backup.count<LetIn>();
        pair.backup.replica.on_datagram(pair.now, orphans);
        pair.backup.collect();
        return pair.backup.count<LetIn>() - before;
    };
    pair.primary_stopped = true;
    EXPECT_EQ(comes(), 1u) << "before the death is known";
    EXPECT_EQ(pair.backup.last<LetIn>()->device, 5);
    EXPECT_EQ(pair.backup.last<LetIn>()->packets, packets);
    EXPECT_EQ(pair.backup.state(), State::kReplaying);
    pair.backup.replica.on_channel_closed(pair.now, ChannelEnd::kPeerClosed);
    EXPECT_EQ(comes(), 1u) << "while claiming";
    answer(pair.backup, pair.now, ArbiterAnswer::kWon);
    pair.replay_all();
    pair.run(kFailure);
    ASSERT_EQ(pair.backup.state(), State::kSolo);
    EXPECT_EQ(comes(), 1u) << "of the term before";

    Header header = decode(orphans).take().header;
    for (auto change : {+[](Header& h) { ++h.vm; }, +[](Header& h) { ++h.sender; },
                        +[](Header& h) { ++h.receiver; }, +[](Header& h) { h.term = h.term + 1; }}) {
        Header foreign = header;
        change(foreign);
        orphans = encode(foreign, Orphans{5, packets});
        EXPECT_EQ(comes(), 0u);
    }
}

TEST(FailOver, PacketsOfADeadPrimaryAreNoSignOfLife) {
    Pair pair;
    pair.protect();
    Bytes orphans = encode_orphans(*pair.primary.replica.last_words(), 5, {});
    pair.primary_stopped = true;
    for (uint64_t waited = 0; waited < 2 * kFailure && pair.backup.state() == State::kReplaying;
         waited += 20) {
        pair.backup.replica.on_datagram(pair.now, orphans);
        pair.run(20);
    }
    EXPECT_EQ(pair.backup.state(), State::kBackupClaiming);
}

TEST(FailOver, ABackupThatIsNotReliedUponTakesInNothing) {
    Pair pair;
    pair.protect();
    Header header = decode(*pair.primary.replica.last_words()).take().header;
    Side fresh(Replica::backup(config_of(kBackupId)));
    fresh.replica.on_channel_open(pair.now);
    fresh.replica.on_datagram(pair.now, encode(header, Orphans{5, {1}}));
    fresh.collect();
    EXPECT_EQ(fresh.count<LetIn>(), 0u);
}

// Their word may come when the backup has claimed already.
TEST(FailOver, LastWordsAreHeardWhileClaiming) {
    Pair pair;
    pair.protect();
    std::optional<Bytes> words = pair.primary.replica.last_words();
    pair.primary_stopped = true;
    pair.backup.replica.on_channel_closed(pair.now, ChannelEnd::kPeerClosed);
    pair.backup.replica.on_datagram(pair.now, *words);
    pair.backup.collect();
    EXPECT_EQ(pair.backup.state(), State::kBackupClaiming);
    EXPECT_EQ(pair.backup.count<BeCareful>(), 1u);
}

TEST(FailOver, ADeadHostIsNoticedBySilence) {
    Pair pair;
    pair.protect();
    pair.primary_stopped = true;
    pair.run(kFailure - 60);
    EXPECT_EQ(pair.backup.state(), State::kReplaying);
    pair.run(120);
    EXPECT_EQ(pair.backup.state(), State::kBackupClaiming);
    answer(pair.backup, pair.now, ArbiterAnswer::kWon);
    EXPECT_EQ(pair.backup.state(), State::kSolo) << "the lease was over before, and the log is consumed";
}

TEST(FailOver, OnAClosedChannelTheBackupIsLiveAtOnceAndWritesWhenTheLastWritesAreDown) {
    Pair pair;
    pair.protect();
    pair.primary_stopped = true;
    pair.backup.replica.on_channel_closed(pair.now, ChannelEnd::kPeerClosed);
    pair.backup.collect();
    answer(pair.backup, pair.now, ArbiterAnswer::kWon);
    EXPECT_EQ(pair.backup.state(), State::kSolo);
    const Replica& replica = pair.backup.replica;
    EXPECT_TRUE(replica.may_release(LogPos(0), pair.now));
    uint64_t writes_from = pair.now + Timing{}.settle_ms;
    EXPECT_EQ(replica.due_ms(), writes_from);
    EXPECT_FALSE(replica.may_write(LogPos(0), writes_from - 1));
    EXPECT_TRUE(replica.may_write(LogPos(0), writes_from));
}

TEST(FailOver, TheLongestSilenceOfTheOtherSideIsKept) {
    Pair pair;
    pair.protect();
    pair.run(500);
    EXPECT_LE(pair.primary.replica.status(pair.now).longest_silence_ms, Timing{}.heartbeat_ms + 10);
    pair.primary_stopped = true;
    pair.run(200);
    EXPECT_GE(pair.backup.replica.status(pair.now).longest_silence_ms, 150u) << "it lasts";
    pair.primary_stopped = false;
    pair.run(1000);
    EXPECT_EQ(pair.backup.state(), State::kReplaying);
    EXPECT_GE(pair.backup.replica.status(pair.now).longest_silence_ms, 150u);
    EXPECT_LT(pair.backup.replica.status(pair.now).longest_silence_ms, 300u);
}

// Its last writes may still be under way when its lease is over, but no packet is.
TEST(FailOver, AfterASilentPrimaryOnlyWritesWaitForTheStorage) {
    Pair pair;
    pair.protect();
    pair.primary_stopped = true;
    pair.run(kFailure + 20);
    ASSERT_EQ(pair.backup.state(), State::kBackupClaiming);
    answer(pair.backup, pair.now, ArbiterAnswer::kWon);
    ASSERT_EQ(pair.backup.state(), State::kSolo);
    const Replica& replica = pair.backup.replica;
    EXPECT_TRUE(replica.may_release(LogPos(0), pair.now));
    ASSERT_TRUE(replica.due_ms());
    uint64_t writes_from = *replica.due_ms();
    EXPECT_GT(writes_from, pair.now + Timing{}.storage_ms - kFailure);
    EXPECT_FALSE(replica.may_write(LogPos(0), writes_from - 1));
    EXPECT_TRUE(replica.may_write(LogPos(0), writes_from));
}

TEST(FailOver, WhereACloseProvesNothingTheLeaseIsWaitedFor) {
    Pair pair;
    Config config = config_of(kBackupId);
    config.peer_close = PeerClose::kProvesNothing;
    pair.backup = Side(Replica::backup(config));
    pair.protect();
    pair.primary_stopped = true;
    pair.backup.replica.on_channel_closed(pair.now, ChannelEnd::kPeerClosed);
    pair.backup.collect();
    EXPECT_EQ(pair.backup.state(), State::kReplaying) << "the primary may live and settle it by itself";
    pair.run(kFailure + 50);
    EXPECT_EQ(pair.backup.state(), State::kBackupClaiming);
}

TEST(FailOver, AKilledBackupLeavesThePrimaryAloneWithinASecond) {
    for (bool silent : {false, true}) {
        Pair pair;
        pair.protect();
        pair.backup_stopped = true;
        LogPos entry = pair.output();
        uint64_t start = pair.now;
        if (!silent)
            pair.primary.replica.on_channel_closed(pair.now, ChannelEnd::kPeerClosed), pair.primary.collect();
        while (pair.primary.state() == State::kProtected && pair.now < start + 2000) pair.run(10);
        EXPECT_EQ(pair.primary.state(), State::kPrimaryClaiming);
        EXPECT_LT(pair.now - start, 1000u);
        EXPECT_FALSE(pair.primary.replica.may_release(entry, pair.now))
            << "held until the arbiter has answered";
        answer(pair.primary, pair.now, ArbiterAnswer::kWon);
        EXPECT_EQ(pair.primary.state(), State::kSolo);
        EXPECT_EQ(pair.primary.replica.term(), Term(2));
        EXPECT_TRUE(pair.primary.replica.may_release(entry, pair.now));
        ASSERT_NE(pair.primary.last<ReleaseOutputs>(), nullptr);
        EXPECT_EQ(pair.primary.last<ReleaseOutputs>()->up_to, entry + 1);
    }
}

TEST(FailOver, AStoppedPrimaryThatIsContinuedLetsNothingOut) {
    Pair pair;
    pair.protect();
    LogPos entry = pair.output();
    // The acknowledgement lies in the primary's socket when it is stopped.
    pair.primary_stopped = true;
    for (int i = 0; i < 8; ++i) pair.run(100);
    EXPECT_EQ(pair.backup.state(), State::kBackupClaiming);
    answer(pair.backup, pair.now, ArbiterAnswer::kWon);
    pair.replay_all();
    EXPECT_EQ(pair.backup.state(), State::kSolo);

    pair.primary.forget();
    pair.primary_stopped = false;
    pair.run(10);
    EXPECT_EQ(pair.primary.replica.status(pair.now).acknowledged, entry + 1)
        << "the old acknowledgement was read";
    EXPECT_FALSE(pair.primary.replica.may_release(entry, pair.now)) << "and must not be trusted";
    EXPECT_EQ(pair.primary.last<ReleaseOutputs>(), nullptr);
    pair.run(kFailure + 100);
    EXPECT_EQ(pair.primary.state(), State::kPrimaryClaiming);
    answer(pair.primary, pair.now, ArbiterAnswer::kLost);
    EXPECT_EQ(pair.primary.state(), State::kHaltedLost);
    ASSERT_NE(pair.primary.last<Halt>(), nullptr);
    EXPECT_EQ(pair.primary.last<Halt>()->reason, HaltReason::kLost);
    EXPECT_FALSE(pair.primary.replica.may_release(entry, pair.now));
    EXPECT_EQ(pair.primary.last<ReleaseOutputs>(), nullptr);
}

TEST(FailOver, AShortStopOfThePrimaryIsNoFailure) {
    Pair pair;
    pair.protect();
    LogPos entry = pair.output();
    pair.primary_stopped = true;
    pair.run(400);
    pair.primary_stopped = false;
    pair.run(100);
    EXPECT_EQ(pair.primary.state(), State::kProtected);
    EXPECT_EQ(pair.backup.state(), State::kReplaying);
    EXPECT_TRUE(pair.primary.replica.may_release(entry, pair.now));
}

TEST(FailOver, AStoppedBackupDoesNotTakeItsOwnSleepForThePrimarysSilence) {
    Pair pair;
    pair.protect();
    pair.now += 450;  // neither was run
    pair.run(100);
    EXPECT_EQ(pair.backup.state(), State::kReplaying);
    EXPECT_EQ(pair.primary.state(), State::kProtected);
}

TEST(FailOver, LostHeartbeatsAreNoFailureWhileTheLogFlows) {
    Pair pair;
    pair.protect();
    pair.datagrams_cut = true;
    for (int i = 0; i < 30; ++i) {
        pair.output();
        pair.run(100);
    }
    EXPECT_EQ(pair.primary.state(), State::kProtected);
    EXPECT_EQ(pair.backup.state(), State::kReplaying);
}

TEST(FailOver, HeartbeatsAloneCarryAnIdleGuest) {
    Pair pair;
    pair.protect();
    pair.run(5000);
    EXPECT_EQ(pair.primary.state(), State::kProtected);
    EXPECT_EQ(pair.backup.state(), State::kReplaying);
    EXPECT_TRUE(pair.primary.replica.may_release(LogPos(0), pair.now) ||
                pair.primary.replica.status(pair.now).acknowledged == LogPos(0));
}

TEST(FailOver, AChannelThatCarriesNothingIsAFailureThoughHeartbeatsArrive) {
    Pair pair;
    pair.protect();
    pair.channel_cut = true;
    pair.output();
    pair.run(Timing{}.ack_ms - 50);
    EXPECT_EQ(pair.primary.state(), State::kProtected);
    pair.run(100);
    EXPECT_EQ(pair.primary.state(), State::kPrimaryClaiming);
}

/// Its entry was acknowledged late, and the lease was over by then: each is bounded, and so is both together.
TEST(FailOver, AnOutputThatHasWaitedForTooLongIsAFailureThoughTheLogIsAcknowledged) {
    Pair pair;
    pair.protect();
    pair.primary.replica.set_held_since(pair.now);
    pair.run(Timing{}.ack_ms - 50);
    EXPECT_EQ(pair.primary.state(), State::kProtected);
    pair.run(100);
    EXPECT_EQ(pair.primary.state(), State::kPrimaryClaiming);
}

TEST(FailOver, WhenTheLinkIsCutOneSideWinsAndTheOtherHalts) {
    for (bool primary_first : {true, false}) {
        Pair pair;
        pair.protect();
        pair.channel_cut = pair.datagrams_cut = true;
        pair.run(kFailure + 100);
        EXPECT_EQ(pair.primary.state(), State::kPrimaryClaiming);
        EXPECT_EQ(pair.backup.state(), State::kBackupClaiming);
        answer(pair.primary, pair.now, primary_first ? ArbiterAnswer::kWon : ArbiterAnswer::kLost);
        answer(pair.backup, pair.now, primary_first ? ArbiterAnswer::kLost : ArbiterAnswer::kWon);
        EXPECT_EQ(pair.primary.state(), primary_first ? State::kSolo : State::kHaltedLost);
        EXPECT_EQ(pair.backup.state(), primary_first ? State::kHaltedLost : State::kSolo);
    }
}

TEST(FailOver, WithoutTheArbiterNobodyActsAndItIsAskedAgain) {
    Pair pair;
    pair.protect();
    LogPos entry = pair.output();
    pair.channel_cut = pair.datagrams_cut = true;
    pair.run(kFailure + 100);
    for (int i = 0; i < 5; ++i) {
        answer(pair.primary, pair.now, ArbiterAnswer::kUnreachable);
        answer(pair.backup, pair.now, ArbiterAnswer::kUnreachable);
        pair.primary.forget();
        pair.backup.forget();
        pair.run(Timing{}.claim_retry_ms + 10);
        EXPECT_EQ(pair.primary.count<Claim>(), 1u);
        EXPECT_EQ(pair.backup.count<Claim>(), 1u);
        EXPECT_FALSE(pair.primary.replica.may_release(entry, pair.now));
        EXPECT_FALSE(pair.backup.replica.may_release(entry, pair.now));
    }
    answer(pair.primary, pair.now, ArbiterAnswer::kWon);
    EXPECT_TRUE(pair.primary.replica.may_release(entry, pair.now));
}

TEST(FailOver, ABackupThatHasClaimedAcknowledgesNothing) {
    Pair pair;
    pair.protect();
    pair.primary_stopped = true;
    pair.run(kFailure + 100);
    EXPECT_EQ(pair.backup.state(), State::kBackupClaiming);
    pair.primary_stopped = false;
    pair.backup.channel.clear();
    pair.backup.datagrams.clear();
    pair.channel_cut = pair.datagrams_cut = true;
    LogPos entry = pair.output();
    pair.run(50);
    std::vector<Bytes> sent = pair.primary.channel;
    for (const Bytes& bytes : sent) pair.backup.replica.on_channel_message(pair.now, bytes);
    pair.run(200);
    EXPECT_TRUE(pair.backup.channel.empty());
    EXPECT_TRUE(pair.backup.datagrams.empty());
    EXPECT_FALSE(pair.primary.replica.may_release(entry, pair.now));
}

TEST(FailOver, ABrokenChannelLeavesALivingPrimaryTheFirstWord) {
    Pair pair;
    pair.protect();
    pair.close(ChannelEnd::kBroken, ChannelEnd::kBroken);
    EXPECT_EQ(pair.primary.state(), State::kPrimaryClaiming);
    EXPECT_EQ(pair.backup.state(), State::kReplaying);
    answer(pair.primary, pair.now, ArbiterAnswer::kWon);
    pair.run(kFailure + 50);
    EXPECT_EQ(pair.backup.state(), State::kBackupClaiming);
    answer(pair.backup, pair.now, ArbiterAnswer::kLost);
    EXPECT_EQ(pair.backup.state(), State::kHaltedLost);
}

TEST(FailOver, MessagesOfAnotherTermVmOrProcessAreRefused) {
    Pair pair;
    pair.protect();
    LogPos entry = pair.output();
    auto forge = [&](auto change) {
        Header header;
        header.vm = 5;
        header.term = Term(1);
        header.sender = kBackupId;
        header.receiver = kPrimaryId;
        header.sent_ms = pair.now;
        header.echo_ms = pair.now;
        change(header);
        pair.primary.replica.on_channel_message(pair.now,
                                                encode(header, Ack{entry + 1, LogPos(0), Icount(0)}));
        pair.primary.collect();
        return pair.primary.replica.may_release(entry, pair.now);
    };
    EXPECT_FALSE(forge([](Header& h) { h.term = Term(0); }));
    EXPECT_FALSE(forge([](Header& h) { h.vm = 6; }));
    EXPECT_FALSE(forge([](Header& h) { h.sender = 33; }));
    EXPECT_FALSE(forge([](Header& h) { h.receiver = 33; }));
    EXPECT_EQ(pair.primary.state(), State::kProtected);
    EXPECT_TRUE(forge([](Header&) {})) << "the forgery is otherwise good";
}

TEST(FailOver, ANewerTermSendsThePrimaryToTheArbiter) {
    Pair pair;
    pair.protect();
    Header header;
    header.vm = 5;
    header.term = Term(2);
    header.sender = kBackupId;
    header.receiver = kPrimaryId;
    pair.primary.replica.on_datagram(pair.now, encode(header, BackupBeat{}));
    pair.primary.collect();
    EXPECT_EQ(pair.primary.state(), State::kPrimaryClaiming);
}

TEST(FailOver, ARoundTripAboveTheLeaseIsActedUponWithinTheFailureBound) {
    Pair pair;
    pair.protect();
    pair.delay_ms = 200;  // 400 ms each way and back, and a lease of 300 ms
    uint64_t start = pair.now;
    while (pair.primary.state() == State::kProtected && pair.now < start + 5000) {
        pair.output();
        pair.run(20);
    }
    EXPECT_EQ(pair.primary.state(), State::kPrimaryClaiming);
    EXPECT_LE(pair.now - start, Timing{}.lease_ms + kFailure + 50);
    EXPECT_EQ(pair.backup.state(), State::kReplaying) << "it hears its primary";
    EXPECT_NE(
        pair.primary.replica.status(pair.now).why.find("the backup is heard, but no output could leave"),
        std::string::npos)
        << pair.primary.replica.status(pair.now).why;
    answer(pair.primary, pair.now, ArbiterAnswer::kWon);
    EXPECT_EQ(pair.primary.state(), State::kSolo);
}

TEST(FailOver, ARoundTripBelowTheLeaseIsPutUpWith) {
    Pair pair;
    pair.protect();
    pair.delay_ms = 100;
    for (int i = 0; i < 200; ++i) {
        LogPos entry = pair.output();
        pair.run(240);
        ASSERT_TRUE(pair.primary.replica.may_release(entry, pair.now)) << i;
    }
    EXPECT_EQ(pair.primary.state(), State::kProtected);
}

TEST(FailOver, AStoppedPrimaryIsGivenTimeForItsNextLease) {
    Pair pair;
    pair.protect();
    pair.primary_stopped = true;
    pair.now += kFailure - 50;  // the backup hears nothing meanwhile, but not for long enough
    pair.primary_stopped = false;
    pair.run(50);
    EXPECT_EQ(pair.primary.state(), State::kProtected);
}

TEST(FailOver, DamagedBytesOnTheChannelEndThePair) {
    Pair pair;
    pair.protect();
    pair.primary.replica.on_channel_message(pair.now, Bytes(80, 3));
    pair.primary.collect();
    EXPECT_EQ(pair.primary.state(), State::kPrimaryClaiming);
    EXPECT_NE(pair.primary.last<CloseChannel>(), nullptr);
    EXPECT_TRUE(pair.primary.said("has 80"));

    Pair other;
    other.protect();
    other.primary.replica.on_datagram(other.now, Bytes(80, 3));
    other.primary.collect();
    EXPECT_EQ(other.primary.state(), State::kProtected) << "a damaged datagram is a lost datagram";
}

}  // namespace
}  // namespace lockstep::replica
