// SPDX-License-Identifier: Apache-2.0
// Timers in guest time.
//
// A timer's deadline is a guest time in ns (see virtual_clock.h). It fires at the first icount at which guest
// time has reached it; both sides of a pair work that icount out for themselves. The queue keeps nothing that
// has to be saved: each device keeps its deadline in its own state and arms its timer again after a restore.
#pragma once

#include <functional>
#include <vector>

#include "base/strong.h"
#include "bus/virtual_clock.h"

namespace lockstep::bus {

inline constexpr uint64_t kNeverNs = ~uint64_t{0};

/// Tells the exact icount, also in the middle of a run.
class IcountSource {
  public:
    virtual ~IcountSource() = default;
    virtual Icount icount() const = 0;
};

class TimerQueue {
  public:
    enum class Id : uint32_t {};

    TimerQueue(const VirtualClock& clock, const IcountSource& icount) : clock_(clock), icount_(icount) {}

    /// Guest time now, in ns.
    uint64_t now_ns() const { return clock_.tsc(icount_.icount()); }

    /// Adds a timer that is not armed. Timers due at the same time fire in the order in which they were
    /// added.
    Id add(std::function<void()> expired);
    /// `deadline_ns`: kNeverNs disarms.
    void arm(Id timer, uint64_t deadline_ns);
    void disarm(Id timer) { arm(timer, kNeverNs); }

    /// To be called after every change of the clock.
    void clock_changed() { find_next(); }

    /// When the next timer fires; kNeverIcount and kNeverNs where none is armed.
    Icount next_event() const { return next_event_; }
    uint64_t next_deadline_ns() const { return next_deadline_ns_; }

    /// Fires every timer that is due now, earliest deadline first; each is disarmed before it is called.
    /// True if there was one.
    bool run_due();

  private:
    struct Timer {
        uint64_t deadline_ns = kNeverNs;
        std::function<void()> expired;
    };
    void find_next();

    const VirtualClock& clock_;
    const IcountSource& icount_;
    std::vector<Timer> timers_;
    uint64_t next_deadline_ns_ = kNeverNs;
    Icount next_event_ = kNeverIcount;
};

}  // namespace lockstep::bus
