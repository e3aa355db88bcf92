// SPDX-License-Identifier: Apache-2.0
// A start by hand claims only what nobody owns, and an owner keeps to the lease of its term.
#include "replica/starter.h"

#include <gtest/gtest.h>

#include "pair.h"

namespace lockstep::replica {
namespace {

/// A start, and what it has wanted so far.
struct Start {
    explicit Start(Caution caution = Caution::kWatch) : starter("shop", "c", Timing{}, caution) {}

    void collect() {
        for (StartAction& action : starter.take_actions()) done.push_back(std::move(action));
    }
    template <typename T>
    const T* last() const {
        for (auto it = done.rbegin(); it != done.rend(); ++it)
            if (const T* action = std::get_if<T>(&*it)) return action;
        return nullptr;
    }
    template <typename T>
    size_t count() const {
        size_t n = 0;
        for (const StartAction& action : done) n += std::holds_alternative<T>(action);
        return n;
    }
    /// Lets time pass; each look finds `view`.
    void run(uint64_t ms) {
        for (uint64_t end = now + ms; now < end; now += 10) {
            size_t looks = count<LookAtTerm>();
            starter.on_time(now), collect();
            if (count<LookAtTerm>() > looks) look();
        }
    }
    void look() { starter.on_look(now, view), collect(); }
    void claim(ArbiterAnswer answer) { starter.on_arbiter(now, answer, "process 7"), collect(); }
    void renew(Renewal answer) { starter.on_renewed(now, answer, "the reason"), collect(); }
    std::string gave_up() const { return last<GiveUp>() ? last<GiveUp>()->sentence : ""; }

    Starter starter;
    std::vector<StartAction> done;
    uint64_t now = 5000;
    TermView view{.reachable = true,
                  .latest = Term(3),
                  .lease = "held 1",
                  .free = false,
                  .owner = "process 1 on a",
                  .hosts = {},
                  .why = ""};
};

const HostPair kOthers{"a", "b"};

TEST(Starter, AVmThatNobodyEverOwnedIsClaimedAtOnce) {
    Start start;
    start.view = {.reachable = true,
                  .latest = Term(0),
                  .lease = "",
                  .free = false,
                  .owner = "",
                  .hosts = {},
                  .why = ""};
    start.run(10);
    ASSERT_NE(start.last<Claim>(), nullptr);
    EXPECT_EQ(start.last<Claim>()->term, Term(1));
    start.claim(ArbiterAnswer::kWon);
    ASSERT_NE(start.last<RenewTerm>(), nullptr);
    start.renew(Renewal::kRenewed);
    ASSERT_NE(start.last<StartGuest>(), nullptr);
    EXPECT_EQ(start.last<StartGuest>()->term, Term(1));
    EXPECT_EQ(start.last<StartGuest>()->leased_from_ms, start.now);
}

TEST(Starter, ALeaseThatStaysTheSameIsWatchedToItsEnd) {
    Start start;
    start.run(Timing{}.watch_ms);
    EXPECT_EQ(start.last<Claim>(), nullptr) << "claimed before the owner's lease can have ended";
    start.run(2 * Timing{}.look_ms);
    ASSERT_NE(start.last<Claim>(), nullptr);
    EXPECT_EQ(start.last<Claim>()->term, Term(4));
    start.claim(ArbiterAnswer::kWon);
    start.renew(Renewal::kRenewed);
    ASSERT_NE(start.last<LookAtTerm>(), nullptr);
    EXPECT_EQ(start.last<LookAtTerm>()->term, Term(3)) << "the old owner's lease";
    start.look();
    EXPECT_NE(start.last<StartGuest>(), nullptr);
}

TEST(Starter, AnOwnerThatRenewsIsLeftAlone) {
    Start start;
    start.run(Timing{}.watch_ms - 100);
    start.view.lease = "held 2";
    start.run(500);
    EXPECT_NE(start.gave_up().find("process 1 on a keeps renewing it"), std::string::npos) << start.gave_up();
    start.run(2 * Timing{}.watch_ms);
    EXPECT_EQ(start.last<Claim>(), nullptr);
}

TEST(Starter, AFailOverMeanwhileIsLeftAlone) {
    Start start;
    start.run(1000);
    start.view.latest = Term(4);
    start.view.lease = "";
    start.run(500);
    EXPECT_NE(start.gave_up(), "");
    EXPECT_EQ(start.last<Claim>(), nullptr);
}

TEST(Starter, AVmWhoseOwnerIsDoneIsClaimedAtOnce) {
    for (uint64_t after : {0, 3000}) {
        Start start;
        if (after > 0) start.run(after);
        start.view.lease = "free 9";
        start.view.free = true;
        start.run(500);
        ASSERT_NE(start.last<Claim>(), nullptr) << after;
        start.claim(ArbiterAnswer::kWon);
        start.renew(Renewal::kRenewed);
        EXPECT_NE(start.last<StartGuest>(), nullptr);
    }
}

TEST(Starter, OfTwoAtTheSameMomentTheLoserGivesUp) {
    Start start;
    start.run(Timing{}.watch_ms + 500);
    start.claim(ArbiterAnswer::kLost);
    EXPECT_NE(start.gave_up().find("at the same moment, by process 7"), std::string::npos);
}

TEST(Starter, AnOwnerThatRenewedAtTheLastMomentIsOutwaited) {
    Start start;
    start.run(Timing{}.watch_ms + 500);
    start.claim(ArbiterAnswer::kWon);
    start.renew(Renewal::kRenewed);
    start.view.lease = "held 2";
    start.look();
    EXPECT_EQ(start.last<StartGuest>(), nullptr);
    uint64_t seen = start.now;
    while (start.last<StartGuest>() == nullptr && start.now < seen + 60'000) {
        size_t renewals = start.count<RenewTerm>();
        start.run(10);
        if (start.count<RenewTerm>() > renewals) start.renew(Renewal::kRenewed);
    }
    ASSERT_NE(start.last<StartGuest>(), nullptr);
    EXPECT_GE(start.now, seen + Timing{}.watch_ms);
    EXPECT_GE(start.last<StartGuest>()->leased_from_ms, seen + Timing{}.watch_ms) << "its own lease is fresh";
}

// A pair that doesn't reach the arbiter renews nothing, and goes on.
TEST(Starter, AThirdHostYieldsToAPair) {
    Start start;
    start.view.hosts = kOthers;
    start.run(Timing{}.watch_ms + 500);
    EXPECT_EQ(start.last<Claim>(), nullptr);
    EXPECT_NE(start.gave_up().find("protected by hosts a and b"), std::string::npos) << start.gave_up();
}

TEST(Starter, AHostOfThePairItselfStartsTheVm) {
    for (const HostPair& hosts : {HostPair{"c", "b"}, HostPair{"a", "c"}, HostPair{"a", ""}}) {
        Start start;
        start.view.hosts = hosts;
        start.run(Timing{}.watch_ms + 500);
        EXPECT_NE(start.last<Claim>(), nullptr) << hosts.owner << " " << hosts.backup;
    }
}

TEST(Starter, APairThatIsDoneIsNone) {
    Start start;
    start.view.hosts = kOthers;
    start.view.free = true;
    start.run(10);
    EXPECT_NE(start.last<Claim>(), nullptr);
}

/// A start that has claimed, and then sees that the old owner has got a backup just before.
Start yielding() {
    Start start;
    start.run(Timing{}.watch_ms + 500);
    start.claim(ArbiterAnswer::kWon);
    start.renew(Renewal::kRenewed);
    start.view.lease = "held 2";
    start.view.hosts = kOthers;
    start.look();
    return start;
}

TEST(Starter, APairThatCameBetweenIsYieldedToUntilItSaysThatItIsDone) {
    Start start = yielding();
    start.run(Timing{}.watch_ms / 2);
    EXPECT_EQ(start.last<StartGuest>(), nullptr);
    EXPECT_EQ(start.last<LookAtTerm>()->term, Term(3)) << "at the pair's lease";
    EXPECT_GT(start.count<RenewTerm>(), 1u) << "others see that somebody waits";
    start.renew(Renewal::kRenewed);
    start.view.lease = "free 3";
    start.view.free = true;
    start.run(2 * Timing{}.look_ms);
    EXPECT_EQ(start.last<StartGuest>(), nullptr) << "not before its own lease is fresh";
    start.renew(Renewal::kRenewed);
    EXPECT_NE(start.last<StartGuest>(), nullptr);
}

TEST(Starter, APairThatSaysNothingIsLeftAlone) {
    Start start = yielding();
    start.run(Timing{}.watch_ms + 500);
    EXPECT_EQ(start.last<StartGuest>(), nullptr);
    EXPECT_NE(start.gave_up().find("protected by hosts a and b"), std::string::npos) << start.gave_up();
}

TEST(Starter, WhatAStartRenewsSaysNothingOfHosts) {
    Start start = yielding();
    EXPECT_EQ(start.last<RenewTerm>()->hosts, std::nullopt);
}

TEST(Starter, ForceAsksNobody) {
    Start start(Caution::kForce);
    start.run(10);
    ASSERT_NE(start.last<Claim>(), nullptr);
    start.claim(ArbiterAnswer::kWon);
    start.renew(Renewal::kRenewed);
    EXPECT_NE(start.last<StartGuest>(), nullptr);
}

TEST(Starter, WithoutTheArbiterNothingStarts) {
    Start away;
    away.view.reachable = false;
    away.view.why = "no storage";
    away.run(10);
    EXPECT_NE(away.gave_up().find("out of reach: no storage"), std::string::npos);
    for (Renewal answer : {Renewal::kUnreachable, Renewal::kSuperseded}) {
        Start start(Caution::kForce);
        start.run(10);
        start.claim(ArbiterAnswer::kWon);
        start.renew(answer);
        EXPECT_NE(start.gave_up().find("the reason"), std::string::npos);
        EXPECT_EQ(start.last<StartGuest>(), nullptr);
    }
}

// --- The owner's side ---

Config leased(uint64_t self) {
    Config config = config_of(self);
    config.tenure = Tenure::kLeased;
    return config;
}

struct Owner : Side {
    Owner() : Side(Replica::solo(leased(kPrimaryId), Term(3), LogPos(0), nullptr, 1000)) {}
    /// Lets time pass; renewals are answered by `answer`.
    void run(uint64_t ms, Renewal answer) {
        for (uint64_t end = now + ms; now < end; now += 10) {
            size_t renewals = count<RenewTerm>();
            replica.on_time(now), collect();
            if (count<RenewTerm>() > renewals)
                replica.on_renewed(now, Term(3), answer, "by process 7"), collect();
        }
    }
    OutputFate output() {
        LogPos position = replica.status(now).appended;
        replica.on_entry(now, position, record::EntryKind::kOutput, {});
        return replica.on_output(now, position);
    }
    uint64_t now = 1000;
};

TEST(Tenure, AnOwnerRenewsItsTermAndActs) {
    Owner owner;
    owner.run(20'000, Renewal::kRenewed);
    EXPECT_GE(owner.count<RenewTerm>(), 19u);
    EXPECT_EQ(owner.output(), OutputFate::kRelease);
}

TEST(Tenure, AnOwnerAloneThatCantRenewHoldsItsOutputsUntilItCan) {
    Owner owner;
    owner.run(3000, Renewal::kRenewed);
    owner.run(Timing{}.term_lease_ms - 1500, Renewal::kUnreachable);
    EXPECT_EQ(owner.output(), OutputFate::kRelease) << "an arbiter that is away for a while harms nobody";
    owner.run(2000, Renewal::kUnreachable);
    EXPECT_FALSE(owner.replica.may_release(LogPos(0), owner.now));
    EXPECT_EQ(owner.output(), OutputFate::kHold);
    EXPECT_TRUE(owner.said("could not be renewed at the arbiter"));
    owner.forget();
    owner.run(2000, Renewal::kRenewed);
    ASSERT_NE(owner.last<ReleaseOutputs>(), nullptr);
    EXPECT_EQ(owner.last<ReleaseOutputs>()->up_to, LogPos(2));
    EXPECT_TRUE(owner.replica.may_release(LogPos(1), owner.now));
    EXPECT_EQ(owner.state(), State::kSolo);
}

TEST(Tenure, AnOwnerThatFindsANewerTermHalts) {
    Owner owner;
    owner.run(3000, Renewal::kRenewed);
    owner.run(1100, Renewal::kSuperseded);
    EXPECT_EQ(owner.state(), State::kHaltedLost);
    EXPECT_FALSE(owner.replica.may_release(LogPos(0), owner.now));
    ASSERT_NE(owner.last<Halt>(), nullptr);
    EXPECT_EQ(owner.last<Halt>()->reason, HaltReason::kLost);
}

TEST(Tenure, AGuestThatSwitchesItselfOffWaitsForTheLease) {
    Owner owner;
    owner.run(Timing{}.term_lease_ms + 2000, Renewal::kUnreachable);
    owner.replica.on_entry(owner.now, LogPos(0), record::EntryKind::kEnd, {});
    owner.replica.on_guest_off(owner.now), owner.collect();
    EXPECT_EQ(owner.state(), State::kSolo) << "its last writes are still held";
    owner.run(2000, Renewal::kRenewed);
    EXPECT_EQ(owner.state(), State::kStopped);
}

/// A pair whose backup has loaded its copy; the owner's renewals wait to be answered.
struct LoadedPair : Pair {
    LoadedPair() {
        primary = Side(Replica::solo(leased(kPrimaryId), Term(1), LogPos(0), nullptr, now));
        run(20);
        backup.replica.on_channel_open(now);
        primary.replica.on_channel_open(now);
        primary.collect();
        carry();
        make_machine();
        cut_copy();
        end_copy();
        answer(Renewal::kRenewed);
        primary.forget();
        backup.replica.on_loaded(now, {});
        backup.collect();
        carry();
    }
    void answer(Renewal renewal) {
        primary.replica.on_renewed(now, Term(1), renewal, ""), primary.collect(), run(10);
    }
};

TEST(Tenure, AProtectedPairGoesOnWithoutTheArbiter) {
    LoadedPair pair;
    pair.answer(Renewal::kRenewed);
    pair.run(2 * Timing{}.term_lease_ms);
    LogPos entry = pair.output();
    pair.carry();
    EXPECT_EQ(pair.primary.state(), State::kProtected);
    EXPECT_TRUE(pair.primary.replica.may_release(entry, pair.now));
}

TEST(Tenure, ABackupIsReliedUponOnceTheArbiterKnowsOfIt) {
    LoadedPair pair;
    ASSERT_EQ(pair.primary.count<RenewTerm>(), 1u) << "at once";
    EXPECT_EQ(pair.primary.last<RenewTerm>()->hosts, (HostPair{"a", "b"}));
    EXPECT_EQ(pair.primary.state(), State::kSynchronising);
    pair.answer(Renewal::kUnreachable);
    EXPECT_EQ(pair.primary.state(), State::kSynchronising);
    EXPECT_EQ(pair.backup.state(), State::kLoading) << "it has no right yet";
    pair.run(2 * Timing{}.claim_retry_ms);
    ASSERT_EQ(pair.primary.count<RenewTerm>(), 2u) << "it tries again";
    pair.answer(Renewal::kRenewed);
    EXPECT_EQ(pair.primary.state(), State::kProtected);
    EXPECT_EQ(pair.backup.state(), State::kReplaying);
    pair.run(2 * Timing{}.renew_ms);
    EXPECT_EQ(pair.primary.last<RenewTerm>()->hosts, (HostPair{"a", "b"})) << "as long as it does";
}

TEST(Tenure, ARenewalWithoutThePairIsNoWordOfIt) {
    LoadedPair pair;
    pair.answer(Renewal::kRenewed);
    ASSERT_EQ(pair.primary.state(), State::kProtected);
    pair.backup.replica.on_divergence(pair.now, LogPos(0), Icount(0), 0);
    pair.backup.collect();
    pair.carry();
    ASSERT_EQ(pair.primary.state(), State::kSolo);
    pair.answer(Renewal::kRenewed);
    pair.run(2 * Timing{}.renew_ms);
    EXPECT_EQ(pair.primary.last<RenewTerm>()->hosts, HostPair{}) << "it is alone";
}

TEST(Tenure, AFailOverDoesntWaitForARenewal) {
    Pair pair;
    pair.backup = Side(Replica::backup(leased(kBackupId)));
    pair.protect();
    pair.primary_stopped = true;
    pair.backup.replica.on_channel_closed(pair.now, ChannelEnd::kPeerClosed);
    pair.backup.collect();
    pair.backup.replica.on_arbiter(pair.now, Term(2), ArbiterAnswer::kWon);
    pair.run(Timing{}.settle_ms + 20);
    EXPECT_EQ(pair.backup.state(), State::kSolo);
    EXPECT_GE(pair.backup.count<RenewTerm>(), 1u);
    EXPECT_TRUE(pair.backup.replica.may_release(LogPos(0), pair.now)) << "the claim is worth a renewal";
}

}  // namespace
}  // namespace lockstep::replica
