// SPDX-License-Identifier: Apache-2.0
// Making a backup, refusing to be one, power-off, hand-over, divergence and dismissal.
#include <gtest/gtest.h>

#include <functional>

#include "pair.h"
#include "record/payloads.h"

namespace lockstep::replica {
namespace {

void connect(Pair& pair) {
    pair.run(20);
    pair.backup.replica.on_channel_open(pair.now);
    pair.primary.replica.on_channel_open(pair.now);
    pair.primary.collect();
    pair.carry();
}

TEST(LifeCycle, AnOwnerAsksForABackupUntilOneIsConnected) {
    Pair pair;
    pair.run(3500);
    EXPECT_EQ(pair.primary.count<AskForBackup>(), 4u);
    pair.protect();
    pair.primary.forget();
    pair.run(3000);
    EXPECT_EQ(pair.primary.count<AskForBackup>(), 0u);
}

TEST(LifeCycle, AnOwnerThatWantsNoBackupDoesNotAsk) {
    Pair pair;
    ASSERT_TRUE(pair.primary.replica.set_policy(pair.now, Policy::kAlone));
    pair.run(3500);
    EXPECT_EQ(pair.primary.count<AskForBackup>(), 0u);
    ASSERT_TRUE(pair.primary.replica.set_policy(pair.now, Policy::kProtect));
    pair.run(20);
    EXPECT_EQ(pair.primary.count<AskForBackup>(), 1u);
}

TEST(LifeCycle, ACopyArrivesWhole) {
    Pair pair;
    pair.protect(3);
    EXPECT_EQ(pair.primary.replica.status(pair.now).appended, LogPos(3));
    EXPECT_EQ(pair.backup.replica.status(pair.now).appended, LogPos(3));
    LogPos entry = pair.entry(record::EntryKind::kConsoleInput);
    pair.flush();
    pair.carry();
    const ReplayLog* log = pair.backup.last<ReplayLog>();
    ASSERT_NE(log, nullptr);
    EXPECT_EQ(log->first, entry);
    EXPECT_EQ(log->count, 1u);
    EXPECT_EQ(log->complete, pair.icount);
    EXPECT_EQ(log->entries, (Bytes{1, 2, 3}));
    EXPECT_FALSE(log->ends);
}

TEST(LifeCycle, ABackupOfAnotherBuildOrProcessorRefusesWithASentence) {
    for (bool build : {true, false}) {
        Pair pair;
        Config config = config_of(kBackupId);
        (build ? config.build : config.cpu) = "something else";
        pair.backup = Side(Replica::backup(config));
        connect(pair);
        EXPECT_EQ(pair.backup.state(), State::kStopped);
        ASSERT_NE(pair.backup.last<Halt>(), nullptr);
        EXPECT_EQ(pair.backup.last<Halt>()->reason, HaltReason::kRefused);
        EXPECT_EQ(pair.primary.state(), State::kSolo);
        EXPECT_EQ(pair.primary.last<StartClone>(), nullptr) << "the guest was not disturbed";
        EXPECT_TRUE(pair.primary.said("something else"));
        EXPECT_TRUE(pair.primary.said(build ? "install the same build" : "choose a host"));
        pair.primary.forget();
        pair.run(5000);
        EXPECT_EQ(pair.primary.count<AskForBackup>(), 0u) << "a refusal isn't gone in a second";
        pair.run(6000);
        EXPECT_GE(pair.primary.count<AskForBackup>(), 1u);
    }
}

TEST(LifeCycle, APartOfACopyThatFailsLeavesTheGuestRunningAlone) {
    const Error why = error("not enough memory on this host for VM shop");
    for (int at = 0; at < 3; ++at) {
        Pair pair;
        connect(pair);
        if (at == 0) {
            pair.primary.replica.on_clone_start(pair.now, 0);
            pair.primary.collect();
            pair.carry();
            ASSERT_NE(pair.backup.last<MakeMachine>(), nullptr);
            pair.backup.replica.on_made(pair.now, why);
        } else {
            pair.make_machine();
            pair.cut_copy();
            if (at == 2) pair.end_copy();
            pair.backup.replica.on_loaded(pair.now, why);
        }
        pair.backup.collect();
        pair.carry();
        EXPECT_EQ(pair.primary.state(), State::kSolo) << at;
        EXPECT_EQ(pair.primary.replica.term(), Term(1));
        EXPECT_EQ(pair.primary.last<StopVm>(), nullptr);
        EXPECT_TRUE(pair.primary.said("not enough memory"));
    }
}

TEST(LifeCycle, AConfigurationOfAnySizeComesInParts) {
    Pair pair;
    connect(pair);
    constexpr size_t kPart = 1 << 20;
    Bytes config(100 * kPart + 1);  // more than any message holds
    for (size_t i = 0; i < config.size(); i += 4096) config[i] = static_cast<uint8_t>(i >> 12);
    static_assert(100 * kPart > kMaxMessageBytes);
    pair.primary.replica.on_clone_start(pair.now, config.size());
    for (size_t sent = 0; sent < config.size(); sent += kPart) {
        ByteSpan part = ByteSpan(config).subspan(sent, std::min(kPart, config.size() - sent));
        pair.give(ClonePart::kConfiguration, Bytes(part.begin(), part.end()));
    }
    const MakeMachine* made = pair.backup.last<MakeMachine>();
    ASSERT_NE(made, nullptr);
    EXPECT_TRUE(made->config == config);
}

TEST(LifeCycle, ABackupTakesInNoMoreThanTheConfigurationAllows) {
    for (auto [config_bytes, state_bytes] :
         {std::pair<uint64_t, uint64_t>{1001, 5}, {3, 2001}, {~0ull, ~0ull}}) {
        Pair pair;
        Config config = config_of(kBackupId);
        config.most_config_bytes = 1000;
        config.most_state_bytes = 2000;
        pair.backup = Side(Replica::backup(config));
        connect(pair);
        if (config_bytes == 3) {
            pair.make_machine();
            pair.primary.replica.on_clone_cut(pair.now, pair.icount, state_bytes);
        } else {
            pair.primary.replica.on_clone_start(pair.now, config_bytes);
        }
        pair.primary.collect();
        pair.carry();
        EXPECT_EQ(pair.backup.state(), State::kStopped);
        EXPECT_EQ(pair.primary.state(), State::kSolo) << "the guest goes on alone";
        EXPECT_TRUE(pair.primary.said(config_bytes == 3 ? "where its settings allow 2000"
                                                        : "where its settings allow 1000"));
    }
}

/// Messages of a copy in another order, or longer than announced, can only be a mistake.
TEST(LifeCycle, PartsOfACopyThatDontFitTogetherMakeABackupUnfit) {
    using Give = std::function<void(Pair&)>;
    const Give kWrong[] = {
        [](Pair& pair) {  // pages before the machine is made
            pair.primary.replica.on_clone_start(pair.now, 3);
            pair.give(ClonePart::kPages, {1});
        },
        [](Pair& pair) {  // too much configuration
            pair.primary.replica.on_clone_start(pair.now, 3);
            pair.give(ClonePart::kConfiguration, {1, 2, 3, 4});
        },
        [](Pair& pair) {  // the state before the cut
            pair.make_machine();
            pair.give(ClonePart::kState, {1});
        },
        [](Pair& pair) {  // too much state
            pair.make_machine();
            pair.cut_copy();
            pair.give(ClonePart::kState, {1});
        },
        [](Pair& pair) {  // the end before the cut
            pair.make_machine();
            pair.give(ClonePart::kEnd, {});
        },
        [](Pair& pair) {  // the end before all of the state is there
            pair.make_machine();
            pair.primary.replica.on_clone_cut(pair.now, pair.icount, 2);
            pair.give(ClonePart::kEnd, {});
        },
        [](Pair& pair) {  // a page behind the end
            pair.make_machine();
            pair.cut_copy();
            pair.end_copy();
            pair.give(ClonePart::kPages, {1});
        },
    };
    for (const Give& give : kWrong) {
        Pair pair;
        connect(pair);
        give(pair);
        EXPECT_EQ(pair.backup.state(), State::kStopped) << &give - kWrong;
        EXPECT_TRUE(pair.backup.said("don't fit together")) << &give - kWrong;
        EXPECT_EQ(pair.primary.state(), State::kSolo) << &give - kWrong;
    }
}

TEST(LifeCycle, ACopyThatIsVoidIsBegunAnew) {
    Pair pair;
    connect(pair);
    pair.make_machine();
    pair.cut_copy();
    pair.primary.replica.on_clone_void(pair.now, "the guest was reset");
    pair.primary.collect();
    pair.carry();
    EXPECT_EQ(pair.primary.state(), State::kSolo);
    EXPECT_EQ(pair.backup.state(), State::kStopped);
    EXPECT_FALSE(pair.primary.replica.wants_log());
    pair.primary.forget();
    pair.run(Timing{}.ask_ms + 20);
    EXPECT_EQ(pair.primary.count<AskForBackup>(), 1u);
}

TEST(LifeCycle, ABackupHoldsNoMoreLogThanAPrimaryMayLeaveThere) {
    Pair pair;
    pair.protect(1);
    uint64_t position = pair.primary.replica.status(pair.now).appended.value();
    // This primary doesn't stop its guest, which executes nothing on the other side.
    constexpr size_t kLarge = 1 << 20;
    size_t most = (4 * config_of(kBackupId).buffer_bytes + kMaxMessageBytes) / kLarge;
    for (size_t i = 0; i < most; ++i) {
        pair.primary.replica.on_entry(pair.now, LogPos(position + i), record::EntryKind::kNetworkReceive,
                                      Bytes(kLarge));
        pair.primary.collect();
        pair.carry();
    }
    EXPECT_EQ(pair.backup.state(), State::kReplaying);
    pair.primary.replica.on_entry(pair.now, LogPos(position + most), record::EntryKind::kNetworkReceive,
                                  Bytes(kLarge));
    pair.primary.collect();
    pair.carry();
    EXPECT_EQ(pair.backup.state(), State::kStopped);
    EXPECT_TRUE(pair.backup.said("more log than this backup can hold"));
}

TEST(LifeCycle, ThePrimaryKnowsHowTheNetworksOfTheOtherSideAre) {
    Pair pair;
    EXPECT_EQ(pair.primary.replica.status(pair.now).peer_links_lost, kLinksUnknown);
    pair.protect(1);
    EXPECT_EQ(pair.primary.replica.status(pair.now).peer_links_lost, 0);
    pair.backup.replica.set_links_lost(2);
    pair.run(200);
    EXPECT_EQ(pair.primary.replica.status(pair.now).peer_links_lost, 2);
}

TEST(LifeCycle, AnOwnerThatMayLetNothingOutIsKnownAsSuch) {
    Pair pair;
    auto may_act = [&pair] { return pair.primary.replica.status(pair.now).may_act; };
    EXPECT_TRUE(may_act()) << "alone";
    pair.protect(1);
    EXPECT_TRUE(may_act());
    EXPECT_FALSE(pair.backup.replica.status(pair.now).may_act);
    uint64_t lease_over = pair.now + config_of(kPrimaryId).timing.lease_ms + 1;
    EXPECT_FALSE(pair.primary.replica.status(lease_over).may_act) << "nothing was heard for a lease";
    ASSERT_TRUE(pair.primary.replica.hand_over(pair.now).ok());
    pair.primary.replica.on_vm_stopped(pair.now, pair.icount);
    EXPECT_FALSE(may_act()) << "it waits for the other side to go on";
}

TEST(LifeCycle, TheGuestRunsWhileItIsCopied) {
    Pair pair;
    connect(pair);
    pair.make_machine();
    pair.entry(record::EntryKind::kDiskCompletion);
    pair.flush();
    pair.carry();
    EXPECT_EQ(pair.backup.last<ReplayLog>(), nullptr) << "what lies before the cut is in the copy";
    pair.cut_copy();
    LogPos alone = pair.output();
    EXPECT_EQ(pair.primary.state(), State::kSynchronising);
    EXPECT_TRUE(pair.primary.replica.may_release(alone, pair.now)) << "nobody can take over yet";
    pair.carry();
    ASSERT_NE(pair.backup.last<ReplayLog>(), nullptr) << "the log goes on from the cut";
    EXPECT_EQ(pair.backup.last<ReplayLog>()->first, alone);
    pair.end_copy();
    EXPECT_EQ(pair.backup.last<LoadState>()->position, alone);
    EXPECT_EQ(pair.backup.last<LoadState>()->state, (Bytes{6, 7}));

    // An output of the last moment: the backup must hold it before it may take over.
    LogPos last = pair.entry(record::EntryKind::kOutput);
    EXPECT_EQ(pair.primary.replica.on_output(pair.now, last), OutputFate::kRelease);
    pair.backup.replica.on_loaded(pair.now, {});
    pair.backup.collect();
    pair.carry();
    EXPECT_EQ(pair.primary.state(), State::kProtected);
    EXPECT_EQ(pair.backup.state(), State::kReplaying);
    EXPECT_EQ(pair.backup.replica.status(pair.now).appended, last + 1);
    EXPECT_EQ(pair.primary.count<StopVm>(), 0u);
}

TEST(LifeCycle, AGuestStopsWhoseLogFillsTheBackupThatLoads) {
    Pair pair;
    connect(pair);
    pair.make_machine();
    pair.cut_copy();
    pair.primary.forget();
    uint64_t position = pair.primary.replica.status(pair.now).appended.value();
    Bytes large(1 << 20);
    for (uint64_t i = 0; i <= config_of(kBackupId).buffer_bytes >> 20; ++i)
        pair.primary.replica.on_entry(pair.now, LogPos(position + i), record::EntryKind::kNetworkReceive,
                                      large);
    pair.run(20);
    ASSERT_NE(pair.primary.last<StopVm>(), nullptr);
    EXPECT_EQ(pair.primary.last<StopVm>()->reason, StopReason::kBufferFull);
    EXPECT_EQ(pair.primary.last<SetSpeed>(), nullptr) << "slowing it would be of no use";
    pair.close(ChannelEnd::kPeerClosed, ChannelEnd::kPeerClosed);
    EXPECT_NE(pair.primary.last<StartVm>(), nullptr) << "there is no buffer any more";
}

TEST(LifeCycle, ABackupLostWhileSynchronisingNeedsNoArbiter) {
    Pair pair;
    connect(pair);
    EXPECT_EQ(pair.primary.state(), State::kSynchronising);
    pair.close(ChannelEnd::kPeerClosed, ChannelEnd::kPeerClosed);
    EXPECT_EQ(pair.primary.state(), State::kSolo);
    EXPECT_EQ(pair.primary.count<Claim>(), 0u);
    EXPECT_EQ(pair.backup.state(), State::kStopped);
    EXPECT_EQ(pair.backup.count<Claim>(), 0u);
}

TEST(LifeCycle, ABackupThatIsNeverGreetedGivesUp) {
    Pair pair;
    pair.backup.replica.on_time(pair.now);
    pair.backup.collect();
    EXPECT_EQ(pair.backup.state(), State::kJoining);
    pair.run(Timing{}.synchronise_ms + 100);
    EXPECT_EQ(pair.backup.state(), State::kStopped);
}

TEST(LifeCycle, APowerOffIsNoFailureOnEitherSide) {
    Pair pair;
    pair.protect();
    LogPos output = pair.output();
    pair.entry(record::EntryKind::kEnd);
    pair.primary.replica.on_guest_off(pair.now);
    pair.primary.collect();
    EXPECT_EQ(pair.primary.state(), State::kEnding);
    EXPECT_FALSE(pair.primary.replica.may_release(output, pair.now));
    pair.carry();
    EXPECT_EQ(pair.backup.state(), State::kBackupEnding);
    EXPECT_EQ(pair.primary.state(), State::kStopped);
    EXPECT_TRUE(pair.primary.replica.may_release(output, pair.now)) << "held outputs still leave";
    ASSERT_NE(pair.primary.last<Halt>(), nullptr);
    EXPECT_EQ(pair.primary.last<Halt>()->reason, HaltReason::kPoweredOff);

    pair.backup.replica.on_channel_closed(pair.now, ChannelEnd::kPeerClosed);
    pair.backup.collect();
    pair.run(2000);
    EXPECT_EQ(pair.backup.count<Claim>(), 0u);
    pair.replay_all();
    EXPECT_EQ(pair.backup.state(), State::kStopped);
    ASSERT_NE(pair.backup.last<Halt>(), nullptr);
    EXPECT_EQ(pair.backup.last<Halt>()->reason, HaltReason::kPoweredOff);
}

TEST(LifeCycle, APowerOffWhoseBackupDiesAsksTheArbiterFirst) {
    Pair pair;
    pair.protect();
    LogPos output = pair.output();
    pair.entry(record::EntryKind::kEnd);
    pair.primary.replica.on_guest_off(pair.now);
    pair.primary.collect();
    pair.close(ChannelEnd::kPeerClosed, ChannelEnd::kPeerClosed);
    EXPECT_EQ(pair.primary.state(), State::kPrimaryClaiming);
    EXPECT_FALSE(pair.primary.replica.may_release(output, pair.now));
    pair.primary.replica.on_arbiter(pair.now, Term(2), ArbiterAnswer::kWon);
    pair.primary.collect();
    EXPECT_EQ(pair.primary.state(), State::kStopped);
    EXPECT_TRUE(pair.primary.replica.may_release(output, pair.now));
}

TEST(LifeCycle, ABackupThatAnswersTooSlowlyProtectsOnceItIsQuickEnough) {
    Pair pair;
    pair.backup.replica.on_channel_open(pair.now);
    pair.primary.replica.on_channel_open(pair.now);
    pair.primary.collect();
    pair.delay_ms = 200;
    pair.run(1000);
    pair.primary.replica.on_clone_start(pair.now, 0);
    pair.primary.collect();
    pair.run(500);
    pair.backup.replica.on_made(pair.now, {});
    pair.backup.collect();
    pair.run(500);
    pair.primary.replica.on_clone_cut(pair.now, pair.icount, 0);
    pair.primary.replica.on_clone_piece(pair.now, ClonePart::kEnd, {});
    pair.primary.collect();
    pair.run(1000);
    pair.backup.replica.on_loaded(pair.now, {});
    pair.backup.collect();
    pair.run(2000);
    EXPECT_EQ(pair.primary.state(), State::kSynchronising) << "outputs leave at once meanwhile";
    EXPECT_NE(pair.primary.replica.status(pair.now).why.find("answers too slowly"), std::string::npos);
    pair.delay_ms = 10;
    pair.run(600);
    EXPECT_EQ(pair.primary.state(), State::kProtected);
    EXPECT_EQ(pair.backup.state(), State::kReplaying);
}

TEST(LifeCycle, AHandOverGoesThroughTheArbiterAndLosesNothing) {
    Pair pair;
    pair.protect();
    LogPos output = pair.output();
    pair.carry();
    pair.primary.replica.on_left(output + 1);
    ASSERT_TRUE(pair.primary.replica.hand_over(pair.now));
    pair.primary.collect();
    ASSERT_NE(pair.primary.last<StopVm>(), nullptr);
    EXPECT_EQ(pair.primary.last<StopVm>()->reason, StopReason::kHandOver);
    pair.run(100);
    EXPECT_EQ(pair.backup.state(), State::kReplaying) << "not offered before the guest stands";
    EXPECT_TRUE(pair.primary.replica.may_release(output, pair.now));
    pair.entry(record::EntryKind::kDiskCompletion);
    pair.primary.replica.on_vm_stopped(pair.now, pair.icount);
    pair.primary.collect();
    EXPECT_FALSE(pair.primary.replica.may_release(output, pair.now)) << "from here on nothing leaves";
    pair.carry();
    EXPECT_EQ(pair.backup.state(), State::kBackupClaiming);
    pair.backup.replica.on_arbiter(pair.now, Term(2), ArbiterAnswer::kWon);
    pair.replay_all();
    EXPECT_EQ(pair.backup.state(), State::kSolo);
    EXPECT_EQ(pair.backup.last<GoLive>()->position, LogPos(2));
    EXPECT_EQ(pair.backup.last<GoLive>()->left_before, output + 1) << "as the offer says";
    pair.carry();
    EXPECT_EQ(pair.primary.state(), State::kStopped);
    ASSERT_NE(pair.primary.last<Halt>(), nullptr);
    EXPECT_EQ(pair.primary.last<Halt>()->reason, HaltReason::kHandedOver);
}

TEST(LifeCycle, AHandOverThatNobodyTakesIsTakenBack) {
    Pair pair;
    pair.protect();
    ASSERT_TRUE(pair.primary.replica.hand_over(pair.now));
    pair.primary.collect();
    pair.run(Timing{}.hand_over_ms + 50);
    EXPECT_EQ(pair.primary.state(), State::kProtected) << "the guest could not be stopped in time";
    EXPECT_NE(pair.primary.last<StartVm>(), nullptr);

    ASSERT_TRUE(pair.primary.replica.hand_over(pair.now));
    pair.primary.replica.on_vm_stopped(pair.now, pair.icount);
    pair.primary.collect();
    pair.primary.forget();
    pair.backup_stopped = true;
    pair.run(Timing{}.failure_ms + 50);
    EXPECT_EQ(pair.primary.state(), State::kPrimaryClaiming);
    pair.primary.replica.on_arbiter(pair.now, Term(2), ArbiterAnswer::kWon);
    pair.primary.collect();
    EXPECT_EQ(pair.primary.state(), State::kSolo);
    EXPECT_NE(pair.primary.last<StartVm>(), nullptr);
}

TEST(LifeCycle, AHandOverNeedsABackup) {
    Pair pair;
    Result<void> result = pair.primary.replica.hand_over(pair.now);
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().message().find("shop"), std::string::npos);
}

TEST(LifeCycle, ADivergenceIsNamedAndTheBackupDropped) {
    Pair pair;
    pair.protect();
    pair.output();
    pair.carry();
    pair.backup.replica.on_divergence(pair.now, LogPos(0), Icount(1234),
                                      record::kRegistersDiffer | record::kDevicesDiffer);
    pair.backup.collect();
    EXPECT_EQ(pair.backup.last<Halt>()->reason, HaltReason::kDiverged);
    pair.carry();
    EXPECT_EQ(pair.primary.state(), State::kSolo);
    EXPECT_TRUE(pair.primary.said("log position 0, icount 1234: registers, devices differ"));
    EXPECT_EQ(pair.primary.count<Claim>(), 0u) << "the backup has given up its right";
    pair.run(Timing{}.ask_ms);
    EXPECT_GE(pair.primary.count<AskForBackup>(), 1u);
}

TEST(LifeCycle, ABackupThatIsTheLastCopyGoesOnThoughItDiverged) {
    Pair pair;
    pair.protect();
    pair.output();
    pair.carry();
    pair.primary_stopped = true;
    pair.run(700);
    pair.backup.replica.on_divergence(pair.now, LogPos(0), Icount(1234), record::kMemoryDiffers);
    pair.backup.collect();
    EXPECT_EQ(pair.backup.state(), State::kBackupClaiming);
    EXPECT_TRUE(pair.backup.said("has diverged"));
}

TEST(LifeCycle, ADismissedBackupNeverClaims) {
    Pair pair;
    pair.protect();
    ASSERT_TRUE(pair.primary.replica.set_policy(pair.now, Policy::kAlone));
    pair.primary.collect();
    pair.carry();
    EXPECT_EQ(pair.backup.state(), State::kStopped);
    EXPECT_EQ(pair.backup.last<Halt>()->reason, HaltReason::kDismissed);
    EXPECT_EQ(pair.primary.state(), State::kSolo);
    pair.run(3000);
    EXPECT_EQ(pair.primary.count<AskForBackup>(), 0u);
    EXPECT_EQ(pair.backup.count<Claim>(), 0u);
}

TEST(LifeCycle, AGapInTheLogMakesABackupUnfit) {
    Pair pair;
    pair.protect();
    pair.output();
    pair.primary.channel.clear();  // cannot happen on a stream: a bug somewhere
    pair.output();
    pair.carry();
    EXPECT_EQ(pair.backup.state(), State::kStopped);
    EXPECT_EQ(pair.primary.state(), State::kSolo);
    EXPECT_TRUE(pair.primary.said("gap"));
}

TEST(LifeCycle, ProgressIsSentWhileTheGuestRunsWithoutEntries) {
    Pair pair;
    pair.protect();
    pair.icount += 1'000'000;
    pair.flush();
    pair.carry();
    const ReplayLog* log = pair.backup.last<ReplayLog>();
    ASSERT_NE(log, nullptr);
    EXPECT_EQ(log->count, 0u);
    EXPECT_EQ(log->complete, pair.icount);
    size_t before = pair.backup.count<ReplayLog>();
    pair.run(500);
    EXPECT_EQ(pair.backup.count<ReplayLog>(), before) << "an idle guest sends no log";
}

}  // namespace
}  // namespace lockstep::replica
