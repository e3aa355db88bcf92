// SPDX-License-Identifier: Apache-2.0
#include "replica/decisions.h"

#include <initializer_list>

#include "base/check.h"

namespace lockstep::replica {

namespace {

using enum State;
using enum Trigger;
using enum Verdict;

constexpr StateSet of(std::initializer_list<State> states) {
    StateSet set = 0;
    for (State s : states) set |= bit(s);
    return set;
}

constexpr StateSet kOver = of({kStopped, kHaltedLost});
/// A primary whose backup may take over.
constexpr StateSet kPaired = of({kProtected, kEnding, kHandingOver});
/// A backup that has no right yet.
constexpr StateSet kUnarmed = of({kJoining, kLoading});
/// What follows once a backup has claimed.
constexpr StateSet kClaimed = of({kBackupClaiming, kGoingLive});
constexpr StateSet kOwners = of({kSolo, kSynchronising, kPrimaryClaiming}) | kPaired;
constexpr StateSet kBackups = kUnarmed | of({kReplaying, kBackupEnding}) | kClaimed;
constexpr StateSet kEverything = kOwners | kBackups | kOver;
constexpr StateSet but(StateSet set) { return kEverything & ~set; }

constexpr Decision kTable[] = {
    {kPeerSilent, of({kSolo}), kNothing, "there is no other side"},
    {kPeerSilent, of({kSynchronising}), kGoSolo, "the backup was not complete and can't take over"},
    {kPeerSilent, kPaired, kClaim, "the backup may be dead, or may think that this side is"},
    {kPeerSilent, of({kPrimaryClaiming}), kNothing, "the arbiter answers"},
    {kPeerSilent, kUnarmed, kLeave, "an incomplete backup is of no use"},
    {kPeerSilent, of({kReplaying}), kClaim, "the primary may be dead"},
    {kPeerSilent, of({kBackupEnding}), kNothing, "the guest ends here too: there is nothing to take over"},
    {kPeerSilent, kClaimed | kOver, kNothing, "settled"},

    {kPeerClosed, of({kSolo}), kNothing, "there is no other side"},
    {kPeerClosed, of({kSynchronising}), kGoSolo, "the backup was not complete and can't take over"},
    {kPeerClosed, kPaired, kClaim, "the backup is dead, or gives up on this side"},
    {kPeerClosed, of({kPrimaryClaiming}), kNothing, "the arbiter answers"},
    {kPeerClosed, kUnarmed, kLeave, "an incomplete backup is of no use"},
    {kPeerClosed, of({kReplaying}), kClaim,
     "the primary is dead or claims too; nothing leaves there any more"},
    {kPeerClosed, of({kBackupEnding}), kNothing, "the guest ends here too: there is nothing to take over"},
    {kPeerClosed, kClaimed | kOver, kNothing, "settled"},

    {kChannelBroken, of({kSolo}), kNothing, "there is no other side"},
    {kChannelBroken, of({kSynchronising}), kGoSolo, "the backup was not complete and can't take over"},
    {kChannelBroken, kPaired, kClaim, "nothing can be acknowledged any more"},
    {kChannelBroken, of({kPrimaryClaiming}), kNothing, "the arbiter answers"},
    {kChannelBroken, kUnarmed, kLeave, "an incomplete backup is of no use"},
    {kChannelBroken, of({kReplaying}), kAwaitSilence, "a primary that lives goes on without an outage"},
    {kChannelBroken, of({kBackupEnding}), kNothing, "the guest ends here too: there is nothing to take over"},
    {kChannelBroken, kClaimed | kOver, kNothing, "settled"},

    {kLeaseLost, kPaired, kClaim, "outputs can't leave any more while this backup may take over"},
    {kLeaseLost, but(kPaired), kNothing, "no output waits for a lease"},

    {kNewerTerm, kPaired | of({kReplaying}), kClaim, "somebody else has won; the arbiter confirms it"},
    {kNewerTerm, but(kPaired | of({kReplaying})), kNothing,
     "no right at stake, or the arbiter is asked already"},

    {kPeerLive, of({kHandingOver}), kHandedOver, "as the operator wanted it"},
    {kPeerLive, of({kProtected, kEnding}), kClaim, "the other side has won; the arbiter confirms it"},
    {kPeerLive, but(kPaired), kNothing, "no right at stake, or the arbiter is asked already"},

    {kPeerGone, of({kSynchronising}) | kPaired, kGoSolo, "the backup has given up its right"},
    {kPeerGone, but(of({kSynchronising}) | kPaired), kNothing,
     "there is no backup, or the arbiter is asked already"},

    {kWon, of({kPrimaryClaiming}), kTakeOver, "the backup can never take over now"},
    {kWon, of({kBackupClaiming}), kBeginLive, "the primary can never go on now"},
    {kWon, but(of({kPrimaryClaiming, kBackupClaiming})), kNothing, "an answer given twice"},

    {kLost, of({kPrimaryClaiming, kBackupClaiming}), kHaltLost, "the other side owns the guest"},
    {kLost, but(of({kPrimaryClaiming, kBackupClaiming})), kNothing, "an answer given twice"},

    {kSuperseded, of({kSolo, kSynchronising, kGoingLive}) | kPaired, kHaltLost,
     "somebody else owns the guest"},
    {kSuperseded, but(of({kSolo, kSynchronising, kGoingLive}) | kPaired), kNothing,
     "the arbiter is asked already, or no right at stake"},

    {kUnreachable, of({kPrimaryClaiming, kBackupClaiming}), kClaimAgain,
     "without the arbiter nobody may act"},
    {kUnreachable, but(of({kPrimaryClaiming, kBackupClaiming})), kNothing, "a later claim was answered"},

    {kGuestOff, of({kSolo, kSynchronising}), kFinish, "no other side can go on with the guest"},
    {kGuestOff, of({kProtected, kHandingOver}), kEnd, "the backup must not take it for a failure"},
    {kGuestOff, of({kEnding, kPrimaryClaiming}), kNothing,
     "known already, or finished when the arbiter has answered"},
    {kGuestOff, kBackups, kNothing, "a replay ends with its log"},
    {kGuestOff, kOver, kNothing, "settled"},

    {kLogEnded, of({kReplaying}), kEnd, "the guest is off when the log is consumed"},
    {kLogEnded, but(of({kReplaying})), kNothing, "not armed yet, known already, or not a replay"},

    {kReady, of({kBackupEnding}), kFinish, "the guest is off on both sides"},
    {kReady, of({kGoingLive}), kGoLive, "everything that was acknowledged has been executed"},
    {kReady, but(of({kBackupEnding, kGoingLive})), kNothing, "not a decision of this state"},

    {kOffered, of({kReplaying}), kClaim, "the arbiter must know the new owner"},
    {kOffered, but(of({kReplaying})), kNothing, "not armed, or settled"},

    {kDismissed, kUnarmed | of({kReplaying, kBackupEnding}), kLeave, "as the primary wants it"},
    {kDismissed, kClaimed, kNothing, "the arbiter answers, or has answered"},
    {kDismissed, kOwners | kOver, kNothing, "no backup"},

    {kUnfit, kUnarmed | of({kReplaying, kBackupEnding}), kLeave, "the primary lives and goes on"},
    {kUnfit, kClaimed, kNothing, "there may be no other copy: go on, but say it"},
    {kUnfit, kOwners | kOver, kNothing, "no backup"},
};

constexpr std::string_view kNames[] = {
#define LOCKSTEP_TRIGGER(name, text) std::string_view(#name).substr(1),
    LOCKSTEP_REPLICA_TRIGGERS(LOCKSTEP_TRIGGER)
#undef LOCKSTEP_TRIGGER
};
constexpr std::string_view kTexts[] = {
#define LOCKSTEP_TRIGGER(name, text) text,
    LOCKSTEP_REPLICA_TRIGGERS(LOCKSTEP_TRIGGER)
#undef LOCKSTEP_TRIGGER
};

}  // namespace

std::string_view name_of(Trigger trigger) { return kNames[static_cast<size_t>(trigger)]; }
std::string_view text_of(Trigger trigger) { return kTexts[static_cast<size_t>(trigger)]; }

std::span<const Decision> decision_table() { return kTable; }

const Decision& decide(State state, Trigger trigger) {
    for (const Decision& row : kTable)
        if (row.holds(state, trigger)) return row;
    CHECK(false, "no decision for {} in {}", name_of(trigger), name_of(state));
    return kTable[0];
}

}  // namespace lockstep::replica
