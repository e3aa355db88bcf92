// SPDX-License-Identifier: Apache-2.0
#include "devices/power/power.h"

namespace lockstep::devices {

namespace {

constexpr uint16_t kPowerButton = 1 << 8;   // PM1 status and enable
constexpr uint16_t kRtcAlarm = 1 << 10;     // the same
constexpr uint16_t kEnableBits = 0x0721;    // timer, global lock, power and sleep button, RTC
constexpr uint16_t kSciEnable = 1;          // PM1 control
constexpr uint16_t kSleepEnable = 1 << 13;  // always reads as 0
constexpr uint16_t kControlBits = 0x1c02;   // bus master reload, sleep type
constexpr uint64_t kPmTimerHz = 3579545;

}  // namespace

Power::Power(bus::InterruptLine& sci, const bus::TimerQueue& timers) : sci_(sci), timers_(timers) {}

void Power::reset() {
    state_ = {};
    update_line();
}

Result<void> Power::loaded() {
    if (state_.request > PowerRequest::kReset) return error("the saved state of {} is damaged", name());
    return {};
}

void Power::control(record::PowerAction action) {
    switch (action) {
        case record::PowerAction::kButton:
            state_.status |= kPowerButton;
            break;
        case record::PowerAction::kReset:
            state_.request = PowerRequest::kReset;
            break;
        case record::PowerAction::kPowerOff:
            state_.request = PowerRequest::kPowerOff;
            break;
    }
    update_line();
}

void Power::rtc_alarm() {
    state_.status |= kRtcAlarm;
    update_line();
}

void Power::update_line() { sci_.set_level(state_.status & state_.enable); }

uint8_t Power::read_byte(unsigned offset) const {
    if (offset >= kPowerTimerOffset) {
        auto ticks = static_cast<unsigned __int128>(timers_.now_ns()) * kPmTimerHz / bus::kTscHz;
        return static_cast<uint8_t>((ticks & 0xffffff) >> 8 * (offset - kPowerTimerOffset));
    }
    const uint16_t words[] = {state_.status, state_.enable, state_.control, 0};
    return static_cast<uint8_t>(words[offset / 2] >> 8 * (offset % 2));
}

void Power::write_byte(unsigned offset, uint8_t value) {
    unsigned shift = 8 * (offset % 2);
    uint16_t bits = static_cast<uint16_t>(value << shift), kept = static_cast<uint16_t>(0xff00 >> shift);
    switch (offset / 2) {
        case 0:
            state_.status &= static_cast<uint16_t>(~bits);
            break;  // ones clear
        case 1:
            state_.enable = ((state_.enable & kept) | bits) & kEnableBits;
            break;
        case 2: {
            uint16_t control = static_cast<uint16_t>((state_.control & kept) | bits);
            state_.control = (control & kControlBits) | kSciEnable;
            if (control & kSleepEnable && (control >> 10 & 7) == kSleepTypeS5)
                state_.request = PowerRequest::kPowerOff;
            break;
        }
    }
}

uint64_t Power::read_register(uint64_t offset, unsigned size) {
    uint64_t value = 0;
    for (unsigned i = 0; i < size && offset + i < kPowerPorts; ++i)
        value |= uint64_t{read_byte(static_cast<unsigned>(offset) + i)} << 8 * i;
    return value;
}

void Power::write_register(uint64_t offset, unsigned size, uint64_t value) {
    for (unsigned i = 0; i < size && offset + i < kPowerPorts; ++i)
        write_byte(static_cast<unsigned>(offset) + i, static_cast<uint8_t>(value >> 8 * i));
    update_line();
}

// Port cf9, as Intel's chipsets have it: bit 2 going up resets.
uint64_t Power::read_reset_port(uint64_t, unsigned) { return state_.reset_control; }

void Power::write_reset_port(uint64_t, unsigned, uint64_t value) {
    if (value & ~state_.reset_control & 4) request_reset();
    state_.reset_control = value & 0xa;
}

// No keyboard: the status says "nothing to read, ready for a command", of which only the reset pulse is
// known.
uint64_t Power::read_keyboard_port(uint64_t, unsigned) { return 0; }

void Power::write_keyboard_port(uint64_t, unsigned, uint64_t value) {
    if ((value & 0xff) == 0xfe) request_reset();
}

}  // namespace lockstep::devices
