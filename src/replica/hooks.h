// SPDX-License-Identifier: Apache-2.0
// What the simulator may do inside the replica's code. A VM process has no hooks.
//
// A fault point is a place where the code may take its rare path at will: everything must stay true.
// A planted bug is a mistake that the checkers must find: it shows that they can.
#pragma once

#include <cstdint>
#include <string_view>

namespace lockstep::replica {

// LOCKSTEP_FAULT_POINT(name, "what happens there")
// clang-format off
#define LOCKSTEP_FAULT_POINTS(LOCKSTEP_FAULT_POINT)                                                   \
    LOCKSTEP_FAULT_POINT(kSkipHeartbeat,   "a heartbeat is not sent")                                 \
    LOCKSTEP_FAULT_POINT(kDelayAck,        "an acknowledgement waits for the next heartbeat")         \
    LOCKSTEP_FAULT_POINT(kRepeatClaim,     "a claim is made twice")                                   \
    LOCKSTEP_FAULT_POINT(kSmallBatch,      "log entries are sent one by one")                         \
    LOCKSTEP_FAULT_POINT(kDelayRelease,    "outputs that may leave wait for the next acknowledgement") \
    LOCKSTEP_FAULT_POINT(kEarlySuspicion,  "a peer is taken for dead after half the bound")
// clang-format on

enum class FaultPoint : uint8_t {
#define LOCKSTEP_FAULT_POINT(name, text) name,
    LOCKSTEP_FAULT_POINTS(LOCKSTEP_FAULT_POINT)
#undef LOCKSTEP_FAULT_POINT
};

// LOCKSTEP_PLANTED_BUG(name, "option", "what is wrong")
// clang-format off
#define LOCKSTEP_PLANTED_BUGS(LOCKSTEP_PLANTED_BUG)                                                                \
    LOCKSTEP_PLANTED_BUG(kReleaseEarly,    "release-early",    "outputs leave without waiting for the backup")     \
    LOCKSTEP_PLANTED_BUG(kIgnoreArbiter,   "ignore-arbiter",   "a backup goes live although it lost or got no answer") \
    LOCKSTEP_PLANTED_BUG(kSoloUnclaimed,   "solo-unclaimed",   "a primary goes on alone without asking the arbiter") \
    LOCKSTEP_PLANTED_BUG(kForgetTail,      "forget-tail",      "a backup goes live before it has consumed the log") \
    LOCKSTEP_PLANTED_BUG(kAckEarly,        "ack-early",        "a backup acknowledges entries that it only heard of") \
    LOCKSTEP_PLANTED_BUG(kNoLease,         "no-lease",         "a primary that was stopped trusts old acknowledgements") \
    LOCKSTEP_PLANTED_BUG(kEchoOnClaim,     "echo-on-claim",    "a backup that has claimed keeps renewing the lease") \
    LOCKSTEP_PLANTED_BUG(kLiveTooSoon,     "live-too-soon",    "a backup doesn't wait for the end of the old lease") \
    LOCKSTEP_PLANTED_BUG(kArmedTooSoon,    "armed-too-soon",   "a backup takes over before it is told that it protects") \
    LOCKSTEP_PLANTED_BUG(kLateWrite,       "late-write",       "a write that its output's release let out is not asked for again") \
    LOCKSTEP_PLANTED_BUG(kSubmitUnasked,   "submit-unasked",   "a write that waited for others or for room is not asked for again") \
    LOCKSTEP_PLANTED_BUG(kLostCache,       "lost-cache",       "a write is answered from the cache of a host that may die") \
    LOCKSTEP_PLANTED_BUG(kSkipLast,        "skip-last",        "a side gone live takes all packets for sent")         \
    LOCKSTEP_PLANTED_BUG(kFreeze,          "freeze",           "a primary puts up with a lease that isn't renewed")   \
    LOCKSTEP_PLANTED_BUG(kStartUnwatched,  "start-without-watching", "a start by hand claims without having watched the lease") \
    LOCKSTEP_PLANTED_BUG(kNoTermLease,     "no-term-lease",    "an owner alone acts on though its term isn't renewed") \
    LOCKSTEP_PLANTED_BUG(kIgnoreNewerTerm, "ignore-newer-term", "an owner goes on though a newer term was claimed")   \
    LOCKSTEP_PLANTED_BUG(kPairUntold,      "pair-untold",      "an owner relies on its backup before the arbiter knows of it") \
    LOCKSTEP_PLANTED_BUG(kLostPage,        "lost-page",        "a page of a copy that is written once it has gone out isn't sent again") \
    LOCKSTEP_PLANTED_BUG(kLatePage,        "late-page",        "a page written after the cut goes out as it is then") \
    LOCKSTEP_PLANTED_BUG(kLateState,       "late-state",       "the guest runs on between the cut and the saving of its state") \
    LOCKSTEP_PLANTED_BUG(kSkipRest,        "skip-rest",        "a copy counts as whole without the pages of its last round") \
    LOCKSTEP_PLANTED_BUG(kJoinEarly,       "join-early",       "the log before the cut joins the copy")       \
    LOCKSTEP_PLANTED_BUG(kNeverAsk,        "never-ask",        "a lost backup isn't replaced")
// clang-format on

enum class PlantedBug : uint8_t {
#define LOCKSTEP_PLANTED_BUG(name, option, text) name,
    LOCKSTEP_PLANTED_BUGS(LOCKSTEP_PLANTED_BUG)
#undef LOCKSTEP_PLANTED_BUG
};

class Hooks {
  public:
    virtual ~Hooks() = default;
    virtual bool strikes(FaultPoint point) = 0;
    virtual bool planted(PlantedBug bug) const = 0;
    /// Whether the process is stopped, or over, before it carries out the next action (Session::go_on()).
    virtual bool stops() = 0;
};

}  // namespace lockstep::replica
