// SPDX-License-Identifier: Apache-2.0
// The table of role decisions: total, unambiguous, and safe by inspection of every case.
#include "replica/decisions.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace lockstep::replica {
namespace {

/// Calls `check` for each state, trigger and verdict.
template <typename Check>
void for_each_case(Check check) {
    for (State state : kAllStates)
        for (Trigger trigger : kAllTriggers) check(state, trigger, decide(state, trigger).verdict);
}

std::string name(State state, Trigger trigger) {
    return std::string(name_of(trigger)) + " in " + std::string(name_of(state));
}

TEST(Decisions, ExactlyOneRowHoldsInEachCase) {
    for (State state : kAllStates) {
        for (Trigger trigger : kAllTriggers) {
            auto rows = std::ranges::count_if(decision_table(),
                                              [&](const Decision& row) { return row.holds(state, trigger); });
            EXPECT_EQ(rows, 1) << name(state, trigger);
        }
    }
}

TEST(Decisions, EveryRowHoldsSomewhereAndSaysWhy) {
    for (const Decision& row : decision_table()) {
        EXPECT_NE(row.states, 0u) << row.why;
        EXPECT_FALSE(row.why.empty()) << name_of(row.trigger);
    }
}

TEST(Decisions, OnlyTheArbitersAnswerMakesAnOwnerOfATerm) {
    for_each_case([](State state, Trigger trigger, Verdict verdict) {
        if (verdict == Verdict::kTakeOver || verdict == Verdict::kBeginLive) {
            EXPECT_EQ(trigger, Trigger::kWon) << name(state, trigger);
        }
        if (verdict == Verdict::kTakeOver) {
            EXPECT_EQ(state, State::kPrimaryClaiming);
        }
        if (verdict == Verdict::kBeginLive) {
            EXPECT_EQ(state, State::kBackupClaiming);
        }
        if (verdict == Verdict::kGoLive) {
            EXPECT_EQ(state, State::kGoingLive);
        }
    });
}

TEST(Decisions, APrimaryGoesOnUnaskedOnlyWhenItsBackupHasNoRight) {
    for_each_case([](State state, Trigger trigger, Verdict verdict) {
        if (verdict == Verdict::kGoSolo) {
            EXPECT_TRUE(state == State::kSynchronising || trigger == Trigger::kPeerGone)
                << name(state, trigger);
        }
    });
}

TEST(Decisions, ABackupWithoutARightNeverClaims) {
    for (State state : {State::kJoining, State::kLoading, State::kBackupEnding})
        for (Trigger trigger : kAllTriggers) {
            EXPECT_NE(decide(state, trigger).verdict, Verdict::kClaim) << name(state, trigger);
        }
}

TEST(Decisions, ABackupThatHasClaimedNeverSaysThatItWont) {
    for (State state : {State::kBackupClaiming, State::kGoingLive})
        for (Trigger trigger : kAllTriggers) {
            EXPECT_NE(decide(state, trigger).verdict, Verdict::kLeave) << name(state, trigger);
        }
}

TEST(Decisions, EachFailureOfAPairIsAnswered) {
    using enum Trigger;
    for (Trigger trigger : {kPeerSilent, kPeerClosed, kChannelBroken, kNewerTerm}) {
        for (State state : {State::kProtected, State::kEnding, State::kHandingOver}) {
            EXPECT_EQ(decide(state, trigger).verdict, Verdict::kClaim) << name(state, trigger);
        }
        EXPECT_NE(decide(State::kReplaying, trigger).verdict, Verdict::kNothing)
            << name(State::kReplaying, trigger);
    }
}

TEST(Decisions, NothingHappensAfterTheEnd) {
    for (State state : {State::kStopped, State::kHaltedLost})
        for (Trigger trigger : kAllTriggers) {
            EXPECT_EQ(decide(state, trigger).verdict, Verdict::kNothing) << name(state, trigger);
        }
}

TEST(Decisions, StatesAndTriggersHaveNames) {
    EXPECT_EQ(name_of(State::kPrimaryClaiming), "PrimaryClaiming");
    EXPECT_EQ(name_of(Trigger::kPeerGone), "PeerGone");
    EXPECT_NE(text_of(State::kHaltedLost), "");
    EXPECT_NE(text_of(Trigger::kReady), "");
}

}  // namespace
}  // namespace lockstep::replica
