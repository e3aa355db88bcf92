// SPDX-License-Identifier: Apache-2.0
// The bounds that a pair works by. All in milliseconds of a host's own clock, which must go on while the
// process or the host is stopped (CLOCK_BOOTTIME).
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"

namespace lockstep::replica {

struct Timing {
    /// Between two heartbeats. on_time() must be called at least twice as often.
    uint64_t heartbeat_ms = 50;
    /// Silence that means failure.
    uint64_t failure_ms = 500;
    /// How long a sign of life from the backup allows the primary to release outputs, from the sending of the
    /// heartbeat that it echoes.
    uint64_t lease_ms = 300;
    /// What the backup waits beyond the lease before it goes live: by how much the two hosts' clocks may drift apart
    /// within it...
    uint64_t drift_ms = 50;
    /// ... and for safety: the way of an output from the last look at the lease to the kernel, for one.
    uint64_t margin_ms = 150;
    /// How long the backup's writes to disks wait beyond that: the time that a write once submitted may take to reach the
    /// disk. All else needn't wait for it.
    uint64_t storage_ms = 300;
    /// How long the backup's writes to disks wait when the primary's system has closed the channel, so that the
    /// process is gone: the time that its last writes may take to reach the disk.
    uint64_t settle_ms = 50;
    /// Between two renewals of an owner's term at the arbiter.
    uint64_t renew_ms = 1000;
    /// How long a renewal lets an owner without a backup act, from when it was asked for.
    uint64_t term_lease_ms = 6000;
    /// How long a start by hand must see a term not renewed before it claims the next: beyond the lease, for the
    /// drift of the clocks and for writes that were submitted.
    uint64_t watch_ms = 8000;
    /// Between two looks at it.
    uint64_t look_ms = 250;
    /// Between two attempts at an unreachable arbiter.
    uint64_t claim_retry_ms = 100;
    /// An entry that isn't acknowledged for so long, while heartbeats arrive, means that the channel has
    /// failed.
    uint64_t ack_ms = 1000;
    /// Silence that means failure while a backup is made.
    uint64_t synchronise_ms = 10'000;
    /// Between two attempts to get a backup.
    uint64_t ask_ms = 1000;
    /// After going live, before a backup is asked for, whose copy takes processor time: clients send again
    /// what was lost meanwhile (TCP for the first time after 200 ms), and are answered first.
    uint64_t recovery_ms = 300;
    /// How long the other side may take to take over before the primary wants the guest back.
    uint64_t hand_over_ms = 2000;
    /// At most so often a running guest's icount is sent when there is no entry to send.
    uint64_t progress_ms = 10;
    /// Entries that nothing waits for gather for so long before they are sent.
    uint64_t gather_ms = 2;
    /// The primary is slowed from this execution lag on, and most at the second.
    uint64_t lag_slow_ms = 200;
    uint64_t lag_most_ms = 1000;

    /// From the sending of what the backup has echoed last until nothing leaves its primary any more.
    uint64_t over_ms(uint64_t primarys_lease_ms) const { return primarys_lease_ms + drift_ms + margin_ms; }
    /// Why these bounds can't work together; empty: they can.
    std::optional<Error> invalid() const;
};

}  // namespace lockstep::replica
