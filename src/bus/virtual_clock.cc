// SPDX-License-Identifier: Apache-2.0
#include "bus/virtual_clock.h"

#include "base/check.h"

namespace lockstep::bus {

namespace {
using Wide = unsigned __int128;
}

Icount VirtualClock::icount_at(uint64_t tsc) const {
    if (tsc <= line_.base) return line_.start;
    Wide needed = Wide{tsc - line_.base} << 32;
    Wide instructions = (needed + line_.rate - 1) / line_.rate;
    if (instructions > kNeverIcount.value() - line_.start.value()) return kNeverIcount;
    return line_.start + static_cast<uint64_t>(instructions);
}

void VirtualClock::set_rate(Icount now, uint64_t rate) {
    CHECK(rate != 0, "guest time must never stand still");
    line_.base = tsc(now);
    line_.start = now;
    line_.rate = rate;
}

void VirtualClock::advance(Icount now, uint64_t ticks) {
    line_.base = tsc(now) + ticks;
    line_.start = now;
}

void VirtualClock::save(ByteWriter& out) const {
    out.fixed(line_.base);
    out.fixed(line_.start.value());
    out.fixed(line_.rate);
}

void VirtualClock::load(ByteReader& in) {
    line_.base = in.fixed<uint64_t>();
    line_.start = Icount(in.fixed<uint64_t>());
    line_.rate = in.fixed<uint64_t>();
}

}  // namespace lockstep::bus
