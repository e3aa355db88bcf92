// SPDX-License-Identifier: Apache-2.0
// The states of a VM process, and how they follow each other.
//
//                    connected                loaded             log's end queued
//     [start]--> kSolo ------> kSynchronising ------> kProtected ----------------> kEnding ---> kStopped
//                 ^ ^                |                 |  |   |  hand over            |
//                 | +----------------+                 |  |   +-------> kHandingOver  |
//                 |   backup failed or refused         |  | backup gone       |       |
//                 +------------------------------------|--+                   |       |
//                 |                                    | failure              |       |
//                 | won                                v                      v       v
//                 +----------------------------- kPrimaryClaiming <-----------+-------+
//                 ^                                    | lost
//                 | log consumed,                      +----------> kHaltedLost <--+
//                 | lease over                                                     | lost
//            kGoingLive <--------------------------------------------- kBackupClaiming
//                                won                                         ^
//                                                                            | failure, hand-over
//     [start]--> kJoining ---------> kLoading ------------------------> kReplaying
//                         the copy             loaded, protected             |
//                                                                            | the log's end received
//                                                                            +--> kBackupEnding ---> kStopped
//
// Not drawn: every backup state goes to kStopped when the primary dismisses it or it finds itself unfit
// (another build, a copy that can't be loaded, divergence).
//
// What may leave the host in each state is in may_release() of replica.h. What each state does at each event
// that decides a role is the table in decisions.h.
#pragma once

#include <cstdint>
#include <string_view>

namespace lockstep::replica {

// LOCKSTEP_STATE(name, "what it means")
// clang-format off
#define LOCKSTEP_REPLICA_STATES(LOCKSTEP_STATE)                                                    \
    LOCKSTEP_STATE(kSolo,            "owner of the guest, without a backup")                       \
    LOCKSTEP_STATE(kSynchronising,   "owner; a backup is being made, which can't take over yet")   \
    LOCKSTEP_STATE(kProtected,       "primary; outputs wait for the backup")                       \
    LOCKSTEP_STATE(kEnding,          "primary; the guest is off, the backup is being told")        \
    LOCKSTEP_STATE(kHandingOver,     "primary; the guest is stopped so that the backup may go on") \
    LOCKSTEP_STATE(kPrimaryClaiming, "primary without its backup; waits for the arbiter, nothing leaves") \
    LOCKSTEP_STATE(kJoining,         "backup; waits for the primary's greeting and copy")          \
    LOCKSTEP_STATE(kLoading,         "backup; receives and loads the copy, can't take over")       \
    LOCKSTEP_STATE(kReplaying,       "backup; replays the log and may take over")                  \
    LOCKSTEP_STATE(kBackupEnding,    "backup; has the end of the log, the guest is about to be off") \
    LOCKSTEP_STATE(kBackupClaiming,  "backup without its primary; waits for the arbiter")          \
    LOCKSTEP_STATE(kGoingLive,       "won; consumes the rest of the log and waits for the old lease to end") \
    LOCKSTEP_STATE(kStopped,         "over: powered off, handed over, dismissed or refused")       \
    LOCKSTEP_STATE(kHaltedLost,      "over: the other side owns the guest")
// clang-format on

enum class State : uint8_t {
#define LOCKSTEP_STATE(name, text) name,
    LOCKSTEP_REPLICA_STATES(LOCKSTEP_STATE)
#undef LOCKSTEP_STATE
};

inline constexpr State kAllStates[] = {
#define LOCKSTEP_STATE(name, text) State::name,
    LOCKSTEP_REPLICA_STATES(LOCKSTEP_STATE)
#undef LOCKSTEP_STATE
};

/// The enumerator's name without its k: for people and traces.
std::string_view name_of(State state);
/// One line that says what the state means.
std::string_view text_of(State state);

/// States in which the guest runs here (or could) and not as a replay.
constexpr bool is_owner(State s) { return s <= State::kPrimaryClaiming; }
constexpr bool is_backup(State s) { return s >= State::kJoining && s <= State::kGoingLive; }
constexpr bool is_over(State s) { return s >= State::kStopped; }

}  // namespace lockstep::replica
