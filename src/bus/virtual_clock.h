// SPDX-License-Identifier: Apache-2.0
// Guest time. It is computed from the instruction count, never read from a host clock:
//
//     tsc(icount) = base + ((icount - icount_base) * rate) >> 32
//
// The guest's time stamp counter runs at 1 GHz: one tick is one nanosecond of guest time. `base` and `rate`
// change only by log entries (kTimeRate, kTimeAdvance) and guest writes to the TSC MSRs.
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "base/strong.h"
#include "base/time_line.h"

namespace lockstep::bus {

inline constexpr uint64_t kTscHz = 1'000'000'000;
/// A rate of one tick an instruction.
inline constexpr uint64_t kRateOne = uint64_t{1} << 32;

class VirtualClock {
  public:
    /// Ticks since power-on, at `now`.
    uint64_t tsc(Icount now) const { return line_.at(now); }
    /// Holds until the next change.
    const TimeLine& line() const { return line_; }
    /// The first icount at which tsc() is at least `tsc`; the past gives icount_base at the earliest.
    Icount icount_at(uint64_t tsc) const;
    uint64_t rate() const { return line_.rate; }

    /// From `now` on, `rate` / 2^32 ticks an instruction. Rate 0 is refused by a check.
    void set_rate(Icount now, uint64_t rate);
    /// Time jumps forward by `ticks` at `now`.
    void advance(Icount now, uint64_t ticks);

    void save(ByteWriter& out) const;
    void load(ByteReader& in);

  private:
    TimeLine line_;
};

}  // namespace lockstep::bus
