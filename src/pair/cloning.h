// SPDX-License-Identifier: Apache-2.0
// The copy of a running guest, on its way to a new backup: the machine's configuration; pages in rounds, while
// the guest goes on; at the cut the state of registers and devices; the rest of the pages.
//
//     kNone --start()--> kConfiguration --all given--> kMaking --ready()--> kBeginning
//                                                                              | on_round()
//                                                                              v
//     kSent <-- end given <-- kRest <--all given-- kState <--on_cut()-- kCutting <-- kRound --another pays--> kTurning
//                                                                                   ^-------- on_round() ------+
//
//     stop(): to kNone, from everywhere. A reset of the guest makes the copy void: next() says so.
//
// It goes piece by piece (Session::send_clone()), on the thread of the session: what comes in between is seen to
// after each of them. The guest doesn't stand still for it, but for the turn of a round and for the cut.
//
// Requests that are in flight at the cut need no care. What the guest asked for before and nobody has answered is
// in the saved state, so the backup knows it as the guest does; every completion is an entry of the log, either
// before the cut, and then in the state, or behind it. An output of before is not in the log that the backup gets:
// it leaves as those of a guest without a backup do.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/shared_bytes.h"
#include "pair/ports.h"
#include "replica/replica.h"

namespace lockstep::pair {

/// How a copy goes on its way.
struct ClonePace {
    size_t piece = 256 << 10;       ///< bytes of a message, and a page more
    size_t ahead = 0;               ///< bytes that may wait in the channel, beside those that the kernel has
    uint64_t bytes_per_second = 0;  ///< at most; 0: as the link takes them
    /// After a piece the thread does nothing for the copy for this share of the time that the piece took: it may
    /// go before the guest's on a busy host.
    unsigned rest_percent = 50;
};

// LOCKSTEP_CLONE_PHASE(name, "for people")
// clang-format off
#define LOCKSTEP_CLONE_PHASES(LOCKSTEP_CLONE_PHASE)          \
    LOCKSTEP_CLONE_PHASE(kNone,          "")                 \
    LOCKSTEP_CLONE_PHASE(kConfiguration, "configuration")    \
    LOCKSTEP_CLONE_PHASE(kMaking,        "making")           \
    LOCKSTEP_CLONE_PHASE(kBeginning,     "making")           \
    LOCKSTEP_CLONE_PHASE(kTurning,       "round")            \
    LOCKSTEP_CLONE_PHASE(kRound,         "round")            \
    LOCKSTEP_CLONE_PHASE(kCutting,       "cut")              \
    LOCKSTEP_CLONE_PHASE(kState,         "cut")              \
    LOCKSTEP_CLONE_PHASE(kRest,          "rest")             \
    LOCKSTEP_CLONE_PHASE(kSent,          "loading")
// clang-format on

enum class ClonePhase : uint8_t {
#define LOCKSTEP_CLONE_PHASE(name, text) name,
    LOCKSTEP_CLONE_PHASES(LOCKSTEP_CLONE_PHASE)
#undef LOCKSTEP_CLONE_PHASE
};

/// What an operator is told.
std::string_view name_of(ClonePhase phase);

class CloneOut {
  public:
    /// `hooks`: of a simulation.
    explicit CloneOut(Guest& guest, const replica::Hooks* hooks = nullptr) : guest_(guest), hooks_(hooks) {}

    using Phase = ClonePhase;
    Phase phase() const { return phase_; }
    /// Whether next() may have something.
    bool gives() const {
        return phase_ == Phase::kConfiguration || phase_ == Phase::kRound || phase_ == Phase::kState ||
               phase_ == Phase::kRest;
    }

    void start(SharedBytes configuration);
    /// The backup's machine takes pages.
    void ready();
    void stop();

    struct Step {
        enum class What : uint8_t {
            kSend,   ///< a piece
            kAgain,  ///< nothing yet, but the guest is about to give a page
            kWait,   ///< nothing until the next event
            kVoid,   ///< no copy can come of it
        };
        What what = What::kWait;
        replica::ClonePart part{};
        Bytes bytes{};
    };
    /// What is to be done next; a piece has `most` bytes, and a page more.
    Step next(size_t most);

    // Answers of the guest. False: one that comes too late.
    bool on_round(uint64_t number);
    bool on_cut(uint64_t number, Bytes state);

    // For people.
    unsigned round() const { return round_; }
    uint64_t given_bytes() const { return given_bytes_; }

  private:
    Step piece_of(ByteSpan whole, replica::ClonePart part, size_t most);
    Step pages(size_t most);

    Guest& guest_;
    const replica::Hooks* hooks_;
    Phase phase_ = Phase::kNone;
    uint64_t number_ = 0;  ///< of the question to the guest that counts
    SharedBytes configuration_;
    Bytes state_;
    size_t given_ = 0;          ///< of what is given in parts
    bool complete_ = false;     ///< the guest has no more pages
    unsigned round_ = 0;        ///< from 1
    uint64_t given_bytes_ = 0;  ///< in all
};

}  // namespace lockstep::pair
