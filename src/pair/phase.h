// SPDX-License-Identifier: Apache-2.0
// The phases of a session (session.h has the drawing), and which events count in which.
#pragma once

#include <cstdint>
#include <string_view>

namespace lockstep::pair {

enum class Phase : uint8_t { kNew, kProving, kMaking, kBackup, kLive, kOff, kOver };

inline constexpr Phase kAllPhases[] = {Phase::kNew,  Phase::kProving, Phase::kMaking, Phase::kBackup,
                                       Phase::kLive, Phase::kOff,     Phase::kOver};

/// A set of phases, one bit each.
using PhaseSet = uint8_t;
constexpr PhaseSet bit(Phase phase) { return static_cast<PhaseSet>(1u << static_cast<unsigned>(phase)); }

inline constexpr PhaseSet kProving = bit(Phase::kProving), kMaking = bit(Phase::kMaking),
                          kBackup = bit(Phase::kBackup), kLive = bit(Phase::kLive), kOff = bit(Phase::kOff);

// LOCKSTEP_SESSION_EVENT(name, phases, "what happened")
// clang-format off
#define LOCKSTEP_SESSION_EVENTS(LOCKSTEP_SESSION_EVENT)                                                          \
    LOCKSTEP_SESSION_EVENT(kTime,           kProving | kBackup | kLive, "time has passed")                       \
    LOCKSTEP_SESSION_EVENT(kWake,           kBackup | kLive | kOff,     "something is due")                      \
    LOCKSTEP_SESSION_EVENT(kLinkOpen,       kBackup | kLive,            "a link to the other side is open")      \
    LOCKSTEP_SESSION_EVENT(kLinkClosed,     kBackup | kLive,            "it isn't any more")                     \
    LOCKSTEP_SESSION_EVENT(kLinkMessage,    kBackup | kLive,            "a message came on the channel")         \
    LOCKSTEP_SESSION_EVENT(kLinkDatagram,   kBackup | kLive,            "a datagram came")                       \
    LOCKSTEP_SESSION_EVENT(kLinkDrained,    kLive,                      "nothing waits in the channel")          \
    LOCKSTEP_SESSION_EVENT(kLooked,         kProving,                   "the arbiter says who owns the VM")      \
    LOCKSTEP_SESSION_EVENT(kClaimed,        kProving | kBackup | kLive, "the arbiter answers a claim")           \
    LOCKSTEP_SESSION_EVENT(kRenewed,        kProving | kBackup | kLive, "the arbiter answers a renewal")         \
    LOCKSTEP_SESSION_EVENT(kDrained,        kLive | kOff,               "no disk request is in flight")          \
    LOCKSTEP_SESSION_EVENT(kLinks,          kBackup | kLive,            "the guest's networks were looked at")   \
    LOCKSTEP_SESSION_EVENT(kMade,           kMaking | kBackup,          "the machine exists, or can't")          \
    LOCKSTEP_SESSION_EVENT(kEntry,          kLive,                      "the guest made an entry")               \
    LOCKSTEP_SESSION_EVENT(kOutput,         kLive,                      "the guest made an output")              \
    LOCKSTEP_SESSION_EVENT(kProgress,       kLive,                      "the guest ran on")                      \
    LOCKSTEP_SESSION_EVENT(kBatchEnd,       kLive,                      "what it made is told")                  \
    LOCKSTEP_SESSION_EVENT(kGuestOff,       kLive,                      "the guest is off")                      \
    LOCKSTEP_SESSION_EVENT(kUnanswered,     kLive,                      "what nobody has answered when it went live") \
    LOCKSTEP_SESSION_EVENT(kPaused,         kLive,                      "the guest stands still")                \
    LOCKSTEP_SESSION_EVENT(kSettled,        kLive,                      "it has all that it was given")          \
    LOCKSTEP_SESSION_EVENT(kRound,          kLive,                      "a round of its copy begins")            \
    LOCKSTEP_SESSION_EVENT(kCut,            kLive,                      "its copy is of this moment")            \
    LOCKSTEP_SESSION_EVENT(kCareOver,       kLive,                      "the engine has its optimisations again") \
    LOCKSTEP_SESSION_EVENT(kLoaded,         kBackup,                    "the copy is loaded, or can't be")       \
    LOCKSTEP_SESSION_EVENT(kReplayed,       kBackup,                    "entries took effect in the replay")     \
    LOCKSTEP_SESSION_EVENT(kReplayedOutput, kBackup,                    "the replay made an output")             \
    LOCKSTEP_SESSION_EVENT(kDivergence,     kBackup,                    "the replay differs from its log")
// clang-format on

enum class Event : uint8_t {
#define LOCKSTEP_SESSION_EVENT(name, phases, text) name,
    LOCKSTEP_SESSION_EVENTS(LOCKSTEP_SESSION_EVENT)
#undef LOCKSTEP_SESSION_EVENT
};

inline constexpr PhaseSet kHeededIn[] = {
#define LOCKSTEP_SESSION_EVENT(name, phases, text) phases,
    LOCKSTEP_SESSION_EVENTS(LOCKSTEP_SESSION_EVENT)
#undef LOCKSTEP_SESSION_EVENT
};

/// Whether the event counts in this phase.
constexpr bool heeds(Phase phase, Event event) {
    return (kHeededIn[static_cast<unsigned>(event)] & bit(phase)) != 0;
}

}  // namespace lockstep::pair
