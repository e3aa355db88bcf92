// SPDX-License-Identifier: Apache-2.0
// The outputs of a guest on their way out: each leaves at once, waits for the backup, or is dropped, as the
// replica says (the output rule).
//
// Outputs leave in the order in which they were made. A read from a disk changes nothing outside, so it
// doesn't wait, unless it touches bytes of a write that does. Neither does a flush: it puts down what has
// been written, which nobody can see, and says nothing of writes that haven't ended. Requests for random
// bytes never wait.
#pragma once

#include <deque>
#include <functional>

#include "bus/device.h"
#include "devices/virtio/block/request.h"
#include "replica/replica.h"
#include "vmm/wait_meter.h"

namespace lockstep::vmm {

/// Whether an output can be noticed outside the VM, so that it must wait for the backup.
bool changes_outside(const bus::Output& output);
bool is_disk_read(const bus::Output& output);

class OutputGate {
  public:
    using Clock = std::function<uint64_t()>;  ///< ms, as the replica wants it
    using Out = std::function<void(const bus::Output&, LogPos entry)>;
    OutputGate(replica::Replica& replica, Clock now_ms, Out out)
        : replica_(replica), now_ms_(std::move(now_ms)), out_(std::move(out)) {}

    /// The guest has made an output, at `made_ns`, whose kOutput entry is `entry`.
    void made(LogPos entry, uint64_t made_ns, bus::Output output);
    /// ReleaseOutputs: lets out what lies before `up_to`, as long as the replica allows each of them. Gives
    /// the position before which all have left.
    LogPos release(LogPos up_to);
    /// Throws away what waits: the guest isn't ours any more.
    void discard() { held_.clear(); }

    size_t held() const { return held_.size(); }
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
    Clock now_ms_;
    Out out_;
    std::deque<Held> held_;
    Waits waits_;
    uint64_t round_trip_ns_ = 0;
};

}  // namespace lockstep::vmm
