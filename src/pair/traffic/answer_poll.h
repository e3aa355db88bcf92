// SPDX-License-Identifier: Apache-2.0
// When the I/O thread polls for the answer of the guest, instead of sleeping until it comes.
//
// A packet for a guest that sleeps mostly has an answer within a fraction of a millisecond. The I/O thread is
// needed for it twice, when the guest has made it and when the backup has it, and each time would have to be
// woken up on a processor that sleeps by then as well. That costs 5 us on bare metal, 70 us under a
// hypervisor that must be asked for it; most of that the vCPU thread spends, which wakes it up. So it polls
// from the question to the answer.
//
// It does so only while it pays: a question that had no answer in kLongestNs ends it, until one has again.
// For guests that are busy nobody polls: they are awake.
#pragma once

#include <cstdint>

#include "pair/traffic/bounds.h"

namespace lockstep::pair::traffic {

class AnswerPoll {
  public:
    /// A packet has come, and the guest has slept until now.
    void asked(uint64_t now_ns);
    /// All outputs of the guest have left.
    void answered(uint64_t now_ns);
    /// Whether an answer is to be polled for.
    bool waits(uint64_t now_ns) const { return waits_ && pays_ && now_ns < asked_ns_ + kLongestNs; }
    /// Whether the guest should be awake by now.
    bool expects_work(uint64_t now_ns) const { return now_ns >= asked_ns_ + kWakeUpNs; }

    static constexpr uint64_t kLongestNs = kBounds.poll_ns, kWakeUpNs = kBounds.wake_up_ns;

  private:
    bool waits_ = false;
    bool pays_ = true;  ///< the last question had its answer in time
    uint64_t asked_ns_ = 0;
};

}  // namespace lockstep::pair::traffic
