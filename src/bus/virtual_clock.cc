#include "bus/virtual_clock.h"

#include "base/check.h"

namespace lockstep::bus {

namespace {
using Wide = unsigned __int128;
}

Icount VirtualClock::icount_at(uint64_t tsc) const {
    if (tsc <= base_) return icount_base_;
    Wide needed = Wide{tsc - base_} << 32;
    Wide instructions = (needed + rate_ - 1) / rate_;
    if (instructions > kNeverIcount.value() - icount_base_.value()) return kNeverIcount;
    return icount_base_ + static_cast<uint64_t>(instructions);
}

void VirtualClock::set_rate(Icount now, uint64_t rate) {
    CHECK(rate != 0, "guest time must never stand still");
    base_ = tsc(now);
    icount_base_ = now;
    rate_ = rate;
}

void VirtualClock::advance(Icount now, uint64_t ticks) {
    base_ = tsc(now) + ticks;
    icount_base_ = now;
}

void VirtualClock::save(ByteWriter& out) const {
    out.fixed(base_);
    out.fixed(icount_base_.value());
    out.fixed(rate_);
}

void VirtualClock::load(ByteReader& in) {
    base_ = in.fixed<uint64_t>();
    icount_base_ = Icount(in.fixed<uint64_t>());
    rate_ = in.fixed<uint64_t>();
}

}  // namespace lockstep::bus
