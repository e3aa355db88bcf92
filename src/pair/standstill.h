// SPDX-License-Identifier: Apache-2.0
// How a live guest is brought to rest, for each reason that a replica may have (replica::StopVm).
//
//     kRuns --stop()--> kPausing --on_paused(), the buffer is full----------------------------> kStands
//       ^                  |                                                                     ^
//       |                  +--on_paused(), to hand it over--> [in flight?] --no--> kSettling     |
//       |                                                       | yes   ^            |   \       |
//       |                                                       v       |on_drained()|    \      |
//       |                                                     kDraining-+    <-------+     +-----+
//       +--start(), from everywhere                                   completions came       told
//
// To be handed over, a guest must stand with nothing in flight and every completion delivered: the other side
// gets it as it is. A full buffer asks for nothing but the pause, so it never takes the place of another reason.
#pragma once

#include <cstdint>
#include <optional>

#include "pair/ports.h"
#include "replica/action.h"

namespace lockstep::pair {

class Standstill {
  public:
    Standstill(Guest& guest, Outside& outside) : guest_(guest), outside_(outside) {}

    void stop(replica::StopReason reason);
    void start();

    // Answers of the ports.
    void on_paused(uint64_t number, Icount icount);
    /// Where the guest stands, if it now does so for a hand-over.
    std::optional<Icount> on_settled(uint64_t number);
    void on_drained();

  private:
    enum class State : uint8_t { kRuns, kPausing, kDraining, kSettling, kStands };
    void quieten();

    Guest& guest_;
    Outside& outside_;
    State state_ = State::kRuns;
    replica::StopReason reason_{};
    uint64_t number_ = 0;  ///< of the pause that counts: answers to earlier ones come too late
    Icount icount_;
    uint64_t completions_ = 0;  ///< given to the guest before the last settle()
};

}  // namespace lockstep::pair
