// SPDX-License-Identifier: Apache-2.0
// How guest time follows host time on the side that runs the guest.
//
// Goals
//   - Guest time advances as host time does, and never goes back.
//   - An idle guest costs few log entries: its time is corrected where it wakes up anyway, not by the rate.
//   - A busy guest's rate is corrected some tens of times a second at most.
//
// Guest time is icount x rate while the guest runs, and stands still while it is halted. So there are two
// means: the rate (kTimeRate) for a running guest, and a jump (kTimeAdvance) for a halted one.
//
// A guest that starts to execute more instructions in a second gains time until its rate is corrected. When
// it halts with a lead, it doesn't sleep that much longer: for whoever waits in it, a short sleep would
// become a long one. The lead is granted, and decays while host time passes; until it has, guest time goes at
// three quarters of its speed.
//
// No clock is read here: every call says what time it is, so that tests decide.
#pragma once

#include <cstdint>
#include <optional>

#include "base/strong.h"

namespace lockstep::drive {

class TimePolicy {
  public:
    /// From now on guest time ought to be `guest_ns` + (host time - `host_ns`). `behind_ns`: what the guest
    /// is to catch up with besides, such as the outage of a fail-over.
    void start(uint64_t host_ns, uint64_t guest_ns, uint64_t behind_ns);

    /// What guest time ought to be.
    uint64_t target(uint64_t host_ns) const {
        return guest_origin_ + (host_ns - host_origin_) + lead_at(host_ns);
    }
    /// The guest has halted. A lead over the target is granted.
    void halted(uint64_t host_ns, uint64_t guest_ns);
    /// When host time has reached the target `guest_ns`.
    uint64_t host_time_of(uint64_t guest_ns) const;
    /// The jump that brings a halted guest to its target; 0 where it is there, or ahead.
    uint64_t advance(uint64_t host_ns, uint64_t guest_ns) const;

    /// The guest has run `instructions` in `ran_ns` of host time.
    void ran(uint64_t ran_ns, uint64_t instructions);
    /// A better rate than the present one; at most every kPeriodNs of running, or when the guest gains time
    /// fast.
    std::optional<uint64_t> steer(uint64_t host_ns, uint64_t guest_ns, uint64_t present_rate);
    /// Instructions that the guest runs in `ns` of host time, by the latest measurement.
    uint64_t instructions_in(uint64_t ns) const;

  private:
    static constexpr uint64_t kPeriodNs = 20'000'000;    ///< of running, between two looks at the rate
    static constexpr uint64_t kHorizonNs = 100'000'000;  ///< in which an error is to be gone
    static constexpr uint64_t kToleranceNs = 4'000'000;  ///< error that isn't worth an entry
    static constexpr int64_t kHurryNs = 4'000'000;       ///< gained since the last look: time for another
    static constexpr uint64_t kLeadDecay = 4;            ///< host time that takes back one unit of a lead

    /// What is left of the lead.
    uint64_t lead_at(uint64_t host_ns) const {
        uint64_t decayed = host_ns > lead_since_ ? (host_ns - lead_since_) / kLeadDecay : 0;
        return lead_ns_ > decayed ? lead_ns_ - decayed : 0;
    }

    uint64_t host_origin_ = 0;
    uint64_t guest_origin_ = 0;
    uint64_t lead_ns_ = 0;  ///< granted at lead_since_
    uint64_t lead_since_ = 0;
    int64_t error_ns_ = 0;  ///< target - guest time at the last look
    uint64_t ran_ns_ = 0;   ///< since the last look
    uint64_t ran_instructions_ = 0;
    double ns_per_instruction_ = 1.0;
    bool measured_ = false;
};

}  // namespace lockstep::drive
