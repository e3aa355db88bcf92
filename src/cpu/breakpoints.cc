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
    code_ = ports_ = false;
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
    }
    look_for_data();
    if (breakpoints_ != before || count_ != count_before) ++version_;
}

uint64_t Breakpoints::met_by_fetch(uint64_t rip) const { return met(rip, 1, Kind::kCode, Kind::kCode); }

uint64_t Breakpoints::take_met() { return std::exchange(met_, 0); }

void Breakpoints::look_for_data() {
    auto is_data = [](const Breakpoint& one) {
        return one.kind == Kind::kWrite || one.kind == Kind::kAccess;
    };
    data_ = std::ranges::any_of(all(), is_data) || std::ranges::any_of(stops_, is_data);
}

void Breakpoints::set_stops(const std::vector<Stop>& stops) {
    stops_.clear();
    for (Stop rest : stops) {
        while (rest.size > 0) {
            uint64_t piece = std::min(rest.size, kPageSize - (rest.start & kPageMask));
            stops_.push_back({rest.start, piece, rest.kind, 0});
            rest.start += piece;
            rest.size -= piece;
        }
    }
    stop_met_.reset();
    let_go_.reset();
    look_for_data();
    ++version_;
}

bool Breakpoints::holds(uint64_t linear, Icount now) {
    if (let_go_ == now) return false;
    for (const Stop& stop : stops_) {
        if (stop.kind != Kind::kCode || stop.start != linear) continue;
        stop_met_ = stop;
        let_go_ = now;
        return true;
    }
    return false;
}

void Breakpoints::note_data(uint64_t at, uint64_t size, Kind one, Kind other) {
    met_ |= met(at, size, one, other);
    for (const Stop& stop : stops_)
        if ((stop.kind == one || stop.kind == other) && meet(stop, at, size) && !stop_met_) stop_met_ = stop;
}

bool Breakpoints::on_page(uint64_t at, Kind one, Kind other) const {
    auto is_there = [&](const Breakpoint& breakpoint) {
        return (breakpoint.kind == one || breakpoint.kind == other) && (breakpoint.start ^ at) < kPageSize;
    };
    return std::ranges::any_of(all(), is_there) || std::ranges::any_of(stops_, is_there);
}

bool Breakpoints::overlaps(uint64_t at, uint64_t size) const {
    auto is_there = [&](const Breakpoint& breakpoint) {
        bool data = breakpoint.kind == Kind::kWrite || breakpoint.kind == Kind::kAccess;
        return data && meet(breakpoint, at, size);
    };
    return std::ranges::any_of(all(), is_there) || std::ranges::any_of(stops_, is_there);
}

uint64_t Breakpoints::met(uint64_t at, uint64_t size, Kind one, Kind other) const {
    uint64_t bits = 0;
    for (const Breakpoint& breakpoint : all())
        if ((breakpoint.kind == one || breakpoint.kind == other) && meet(breakpoint, at, size))
            bits |= breakpoint.bit;
    return bits;
}

}  // namespace lockstep::cpu
