// SPDX-License-Identifier: Apache-2.0
// The outputs of a guest on their way out: each leaves at once, waits for the backup, or is dropped, as the
// replica says (the output rule).
//
//     made() --+--> nothing outside can notice it, or alone ------------------> Outside::submit()
//              +--> dropped (a backup's)                                             ^
//              +--> held, in order --release(), and the replica allows each of them--+
//
// A read from a disk changes nothing outside, so it doesn't wait, unless it touches bytes of a write that does.
// Neither does a flush: it puts down what has been written, which nobody can see, and says nothing of writes
// that haven't ended. Requests for random bytes never wait.
//
// What has left the gate is not with the kernel yet. A write may wait for others, or for room; so there is a
// last look, Session::may_write(), which Outside asks for when nothing lies between it and the kernel.
#pragma once

#include <deque>
#include <optional>

#include "pair/ports.h"
#include "pair/wait_meter.h"
#include "replica/replica.h"

namespace lockstep::pair {

class OutputGate {
  public:
    OutputGate(replica::Replica& replica, const Clock& clock, Outside& outside)
        : replica_(replica), clock_(clock), outside_(outside) {}

    /// The guest has made an output, at `made_ns`, whose kOutput entry is `entry`.
    void made(LogPos entry, uint64_t made_ns, bus::Output output);
    /// ReleaseOutputs: lets out what lies before `up_to`, as long as the replica allows each of them. Gives
    /// the position before which all have left.
    LogPos release(LogPos up_to);
    /// Throws away what waits: the guest isn't ours any more.
    void discard() { held_.clear(); }

    size_t held() const { return held_.size(); }
    /// When the first of those that wait was made; empty: none waits.
    std::optional<uint64_t> oldest_ns() const {
        return held_.empty() ? std::nullopt : std::optional(held_.front().since_ns);
    }
    /// What the logging link takes for a round trip, now.
    void set_round_trip(uint64_t ns) { round_trip_ns_ = ns; }
    /// Of the outputs that were held, from the instruction that made each until it went to the host's kernel.
    struct Waits {
        WaitMeter all;
        WaitMeter beyond_link;  ///< less a round trip of the logging link
    };
    const Waits& waits() const { return waits_; }
    uint64_t round_trip_ns() const { return round_trip_ns_; }

  private:
    struct Held {
        LogPos entry;
        uint64_t since_ns;
        bus::Output output;
    };
    bool passes(const bus::Output& output) const;

    replica::Replica& replica_;
    const Clock& clock_;
    Outside& outside_;
    std::deque<Held> held_;
    Waits waits_;
    uint64_t round_trip_ns_ = 0;
};

}  // namespace lockstep::pair
