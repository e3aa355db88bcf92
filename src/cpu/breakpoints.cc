// SPDX-License-Identifier: Apache-2.0
#include "cpu/breakpoints.h"

#include <algorithm>
#include <utility>

#include "x86/control.h"

namespace lockstep::cpu {

namespace {

bool meet(const Breakpoints::Breakpoint& breakpoint, uint64_t at, uint64_t size) {
    return at - breakpoint.start < breakpoint.size || breakpoint.start - at < size;
}

}  // namespace

void Breakpoints::load(const CpuState& state) {
    constexpr uint64_t kSizes[] = {1, 2, 8, 4};  // by LEN
    std::array<Breakpoint, 4> before = std::exchange(breakpoints_, {});
    size_t count_before = std::exchange(count_, 0);
    code_ = data_ = ports_ = false;
    met_ = 0;
    uint64_t control = state.dr[7];
    for (unsigned number = 0; number < breakpoints_.size(); ++number) {
        if (!(control >> 2 * number & 3)) continue;  // L and G
        auto kind = static_cast<Kind>(control >> (16 + 4 * number) & 3);
        uint64_t size = kind == Kind::kCode ? 1 : kSizes[control >> (18 + 4 * number) & 3];
        if (kind == Kind::kPort && !(state.cr4 & x86::kCr4De)) continue;
        breakpoints_[count_++] = {state.dr[number] & ~(size - 1), size, kind, uint64_t{1} << number};
        code_ |= kind == Kind::kCode;
        ports_ |= kind == Kind::kPort;
        data_ |= kind == Kind::kWrite || kind == Kind::kAccess;
    }
    if (breakpoints_ != before || count_ != count_before) ++version_;
}

uint64_t Breakpoints::met_by_fetch(uint64_t rip) const { return met(rip, 1, Kind::kCode, Kind::kCode); }

uint64_t Breakpoints::take_met() { return std::exchange(met_, 0); }

bool Breakpoints::on_page(uint64_t at, Kind one, Kind other) const {
    return std::ranges::any_of(all(), [&](const Breakpoint& breakpoint) {
        return (breakpoint.kind == one || breakpoint.kind == other) && (breakpoint.start ^ at) < kPageSize;
    });
}

bool Breakpoints::overlaps(uint64_t at, uint64_t size) const {
    return std::ranges::any_of(all(), [&](const Breakpoint& breakpoint) {
        bool data = breakpoint.kind == Kind::kWrite || breakpoint.kind == Kind::kAccess;
        return data && meet(breakpoint, at, size);
    });
}

uint64_t Breakpoints::met(uint64_t at, uint64_t size, Kind one, Kind other) const {
    uint64_t bits = 0;
    for (const Breakpoint& breakpoint : all())
        if ((breakpoint.kind == one || breakpoint.kind == other) && meet(breakpoint, at, size))
            bits |= breakpoint.bit;
    return bits;
}

}  // namespace lockstep::cpu
