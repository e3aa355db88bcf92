// SPDX-License-Identifier: Apache-2.0
#include "devices/legacy/pit.h"

#include <utility>

namespace lockstep::devices {

namespace {

constexpr uint8_t kGate2 = 1, kOutput2 = 0x20, kRefresh = 0x10;

using Wide = unsigned __int128;
uint64_t ticks_in(uint64_t ns) { return static_cast<uint64_t>(Wide{ns} * kPitHz / bus::kTscHz); }
// The first time, in ns, at which `ticks` ticks have passed.
uint64_t ns_of(uint64_t ticks) {
    return static_cast<uint64_t>((Wide{ticks} * bus::kTscHz + kPitHz - 1) / kPitHz);
}

// The modes that start again by themselves; the others count down once.
bool repeats(const PitChannel& channel) { return channel.mode == 2 || channel.mode == 3; }

}  // namespace

Pit::Pit(bus::InterruptLine& line, bus::TimerQueue& timers)
    : line_(line), timers_(timers), timer_(timers.add([this] { timer_expired(); })) {}

void Pit::reset() {
    state_ = {};
    timers_.disarm(timer_);
}

Result<void> Pit::loaded() {
    for (const PitChannel& channel : state_.channels)
        if (channel.reload == 0 || channel.reload > 0x10000 || channel.mode > 5 || channel.access > 3)
            return error("the saved state of {} is damaged", name());
    timers_.arm(timer_, state_.timer_ns);
    return {};
}

uint64_t Pit::ticks(const PitChannel& channel) const { return ticks_in(timers_.now_ns() - channel.start_ns); }

uint16_t Pit::count(const PitChannel& channel) const {
    if (!channel.counting) return static_cast<uint16_t>(channel.reload);
    uint64_t passed = ticks(channel);
    if (!repeats(channel)) return static_cast<uint16_t>(channel.reload - passed);
    if (channel.mode == 2) return static_cast<uint16_t>(channel.reload - passed % channel.reload);
    // The square wave counts down by two, twice a period.
    return static_cast<uint16_t>(channel.reload - passed * 2 % channel.reload) & 0xfffe;
}

bool Pit::output(const PitChannel& channel) const {
    if (!channel.counting) return channel.mode != 0;
    uint64_t passed = ticks(channel);
    switch (channel.mode) {
        case 2:
            return passed % channel.reload != channel.reload - 1;
        case 3:
            return passed % channel.reload < (channel.reload + 1) / 2;
        case 4:
        case 5:
            return passed != channel.reload;
        default:
            return passed >= channel.reload;
    }
}

// Only channel 0 interrupts; its counting starts again (modes 2 and 3) or ends.
void Pit::schedule() {
    const PitChannel& channel = state_.channels[0];
    state_.timer_ns = bus::kNeverNs;
    uint64_t passed = ticks(channel);
    if (channel.counting && (repeats(channel) || passed < channel.reload))
        state_.timer_ns = channel.start_ns + ns_of((passed / channel.reload + 1) * channel.reload);
    timers_.arm(timer_, state_.timer_ns);
}

void Pit::timer_expired() {
    line_.set_level(true);
    line_.set_level(false);
    schedule();
}

void Pit::start(unsigned number, uint32_t reload) {
    PitChannel& channel = state_.channels[number];
    channel.reload = reload ? reload : 0x10000;
    channel.counting = number != 2 || state_.control & kGate2;
    channel.start_ns = timers_.now_ns();
    if (number == 0) schedule();
}

void Pit::write_command(uint8_t value) {
    unsigned number = value >> 6, access = value >> 4 & 3;
    if (number == 3) {  // read back
        for (unsigned i = 0; i < 3; ++i) {
            PitChannel& channel = state_.channels[i];
            if (!(value >> (i + 1) & 1)) continue;
            if (!(value & 0x20) && !channel.latched) channel.latch = count(channel), channel.latched = true;
            if (!(value & 0x10) && !channel.status_latched) {
                channel.status_latched = true;
                channel.status =
                    static_cast<uint8_t>(output(channel) << 7 | channel.access << 4 | channel.mode << 1);
            }
        }
        return;
    }
    PitChannel& channel = state_.channels[number];
    if (access == 0) {
        if (!channel.latched) channel.latch = count(channel), channel.latched = true;
        return;
    }
    uint8_t mode = value >> 1 & 7;
    channel = {};
    channel.mode = mode > 5 ? mode & 3 : mode;
    channel.access = static_cast<uint8_t>(access);
    if (number == 0) schedule();
}

void Pit::write_count(unsigned number, uint8_t value) {
    PitChannel& channel = state_.channels[number];
    if (channel.access == 1) return start(number, value);
    if (channel.access == 2) return start(number, uint32_t{value} << 8);
    if (std::exchange(channel.write_high, !channel.write_high))
        return start(number, uint32_t{value} << 8 | channel.low);
    channel.low = value;
}

uint8_t Pit::read_count(unsigned number) {
    PitChannel& channel = state_.channels[number];
    if (std::exchange(channel.status_latched, false)) return channel.status;
    uint16_t value = channel.latched ? channel.latch : count(channel);
    bool high = channel.access == 2 || (channel.access == 3 && channel.read_high);
    if (channel.access == 3) channel.read_high = !channel.read_high;
    if (channel.access != 3 || high) channel.latched = false;
    return static_cast<uint8_t>(value >> (high ? 8 : 0));
}

uint64_t Pit::read_register(uint64_t offset, unsigned) {
    return offset < 3 ? read_count(static_cast<unsigned>(offset)) : 0;
}

void Pit::write_register(uint64_t offset, unsigned, uint64_t value) {
    if (offset < 3)
        write_count(static_cast<unsigned>(offset), static_cast<uint8_t>(value));
    else
        write_command(static_cast<uint8_t>(value));
}

uint64_t Pit::read_control_port(uint64_t, unsigned) {
    uint8_t refresh = ticks_in(timers_.now_ns()) / 18 & 1 ? kRefresh : 0;
    return state_.control | refresh | (output(state_.channels[2]) ? kOutput2 : 0);
}

void Pit::write_control_port(uint64_t, unsigned, uint64_t value) {
    PitChannel& channel = state_.channels[2];
    bool gate = value & kGate2, before = state_.control & kGate2;
    state_.control = value & 3;
    if (gate && !before) {
        channel.counting = true;
        channel.start_ns = timers_.now_ns();
    } else if (!gate) {
        channel.counting = false;
    }
}

}  // namespace lockstep::devices
