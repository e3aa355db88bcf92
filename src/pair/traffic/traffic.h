// SPDX-License-Identifier: Apache-2.0
// How the I/O thread treats the traffic of its guest: when it polls, when it lets packets lie, how long outputs
// gather, when inputs must wait outside (docs/adr/0007-wake-ups.md). What the vCPU's thread does by the same
// bounds is in vmm/vcpu_thread.h.
//
//     packet_came() --> slept for long, on another processor?  --> the answer is polled for (AnswerPoll)
//                  \--> many, and the guest is busy?           --> the next ones may lie (InputModeration)
//     outputs_left() --> the answer, if somebody polled for it
//
// No clock is read here: every call says what time it is.
#pragma once

#include <cstddef>
#include <cstdint>

#include "pair/traffic/answer_poll.h"
#include "pair/traffic/bounds.h"
#include "pair/traffic/input_moderation.h"

namespace lockstep::pair::traffic {

/// Whether the I/O thread may keep a processor busy for the guest's answers.
enum class LowLatency : uint8_t { kYes, kNo };

/// What the vCPU's thread was doing when a packet came.
struct Sleeper {
    bool slept_long = false;  ///< it has had nothing to do for a while
    bool elsewhere = false;   ///< on another processor than the I/O thread
};

class Traffic {
  public:
    explicit Traffic(LowLatency low_latency) : low_latency_(low_latency) {}

    /// A packet has come for a guest that runs here; so many since the start.
    void packet_came(uint64_t total, const Sleeper& guest, uint64_t now_ns);
    /// No output waits any more.
    void outputs_left(uint64_t now_ns) { answer_poll_.answered(now_ns); }
    /// Whether the I/O thread looks out for the answer without sleeping. A guest that sleeps again has none.
    bool polls(uint64_t held_outputs, bool guest_awake, uint64_t now_ns) const;
    /// How long packets may lie. A guest that sleeps gets them at once, and all guests what their disks have
    /// done.
    uint64_t rest_ns(bool guest_awake, size_t disk_requests, uint64_t now_ns) const;

    /// How long the outputs of a busy guest gather at least. One hand-over wakes up a thread here, and with a
    /// backup several threads of two hosts.
    static uint64_t group_ns(bool for_backup) {
        return for_backup ? kBounds.group_for_backup_ns : kBounds.group_ns;
    }

  private:
    LowLatency low_latency_;
    AnswerPoll answer_poll_;
    InputModeration input_moderation_;
};

}  // namespace lockstep::pair::traffic
