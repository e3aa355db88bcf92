// SPDX-License-Identifier: Apache-2.0
// Who may act for the guest: one table of every decision about roles.
//
// A trigger is something that has been found out; a verdict is what a process in a given state does about it.
// For each state and trigger exactly one row holds; a test goes through all of them. What a verdict entails
// is in Replica::carry_out(); nothing else gives up or takes the ownership of a guest.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "replica/state.h"

namespace lockstep::replica {

// LOCKSTEP_TRIGGER(name, "what has been found out")
// clang-format off
#define LOCKSTEP_REPLICA_TRIGGERS(LOCKSTEP_TRIGGER)                                                        \
    LOCKSTEP_TRIGGER(kPeerSilent,    "nothing was heard of the other side within the bound")               \
    LOCKSTEP_TRIGGER(kPeerClosed,    "the other side's system has closed the channel")                     \
    LOCKSTEP_TRIGGER(kChannelBroken, "the channel is of no use any more")                                  \
    LOCKSTEP_TRIGGER(kLeaseLost,     "the other side is heard, but too late to let anything out")           \
    LOCKSTEP_TRIGGER(kNewerTerm,     "the other side speaks in a newer term")                              \
    LOCKSTEP_TRIGGER(kPeerLive,      "the other side says that it is the owner")                           \
    LOCKSTEP_TRIGGER(kPeerGone,      "the backup says that it will never take over")                       \
    LOCKSTEP_TRIGGER(kWon,           "the arbiter gave the claimed term to this side")                     \
    LOCKSTEP_TRIGGER(kLost,          "the arbiter gave the claimed term to the other side")                \
    LOCKSTEP_TRIGGER(kSuperseded,    "the arbiter has given a newer term to somebody else")               \
    LOCKSTEP_TRIGGER(kUnreachable,   "the arbiter could not be reached")                                   \
    LOCKSTEP_TRIGGER(kGuestOff,      "the guest has switched itself off")                                  \
    LOCKSTEP_TRIGGER(kLogEnded,      "the end of the log was received")                                    \
    LOCKSTEP_TRIGGER(kReady,         "the log is consumed, and no old lease can hold any more")            \
    LOCKSTEP_TRIGGER(kOffered,       "the primary has stopped for good and offers the guest")              \
    LOCKSTEP_TRIGGER(kDismissed,     "the primary doesn't want this backup any more")                      \
    LOCKSTEP_TRIGGER(kUnfit,         "this backup can't serve: other build, failed load, divergence")
// clang-format on

enum class Trigger : uint8_t {
#define LOCKSTEP_TRIGGER(name, text) name,
    LOCKSTEP_REPLICA_TRIGGERS(LOCKSTEP_TRIGGER)
#undef LOCKSTEP_TRIGGER
};

inline constexpr Trigger kAllTriggers[] = {
#define LOCKSTEP_TRIGGER(name, text) Trigger::name,
    LOCKSTEP_REPLICA_TRIGGERS(LOCKSTEP_TRIGGER)
#undef LOCKSTEP_TRIGGER
};

enum class Verdict : uint8_t {
    kNothing,     ///< the state already takes care of it, or it can't matter
    kGoSolo,      ///< go on alone in the same term: the backup has no right to take over
    kClaim,       ///< ask the arbiter for the next term; nothing leaves and nothing is acknowledged until it
                  ///< answers
    kClaimAgain,  ///< ask it again in a while
    kTakeOver,    ///< primary: alone in the new term; what was held goes out
    kBeginLive,   ///< backup: consume the log, wait for the old lease to end
    kGoLive,      ///< backup: the guest runs here now
    kAwaitSilence,  ///< the primary may live and settle it by itself: claim only after the failure bound
    kEnd,           ///< the guest is off: see to it that both sides know
    kFinish,        ///< both sides know, or there is one only: stop
    kHandedOver,    ///< stop: the other side goes on, as it was told to
    kLeave,         ///< backup: say farewell and stop
    kHaltLost,      ///< stop at once, let nothing out
};

std::string_view name_of(Trigger trigger);
std::string_view text_of(Trigger trigger);

/// A set of states, one bit each.
using StateSet = uint32_t;
constexpr StateSet bit(State state) { return StateSet{1} << static_cast<unsigned>(state); }

struct Decision {
    Trigger trigger;
    StateSet states;
    Verdict verdict;
    std::string_view why;

    constexpr bool holds(State state, Trigger t) const { return t == trigger && (states & bit(state)); }
};

/// All rows.
std::span<const Decision> decision_table();
/// The one row that holds.
const Decision& decide(State state, Trigger trigger);

}  // namespace lockstep::replica
