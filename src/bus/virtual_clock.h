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

namespace lockstep::bus {

inline constexpr uint64_t kTscHz = 1'000'000'000;
/// A rate of one tick an instruction.
inline constexpr uint64_t kRateOne = uint64_t{1} << 32;

class VirtualClock {
  public:
    /// Ticks since power-on, at `now`.
    uint64_t tsc(Icount now) const {
        return base_ + static_cast<uint64_t>((static_cast<unsigned __int128>(now - icount_base_) * rate_) >> 32);
    }
    /// The first icount at which tsc() is at least `tsc`; the past gives icount_base at the earliest.
    Icount icount_at(uint64_t tsc) const;
    uint64_t rate() const { return rate_; }

    /// From `now` on, `rate` / 2^32 ticks an instruction. Rate 0 is refused by a check.
    void set_rate(Icount now, uint64_t rate);
    /// Time jumps forward by `ticks` at `now`.
    void advance(Icount now, uint64_t ticks);

    void save(ByteWriter& out) const;
    void load(ByteReader& in);

  private:
    uint64_t base_ = 0;
    Icount icount_base_;
    uint64_t rate_ = kRateOne;
};

}  // namespace lockstep::bus
