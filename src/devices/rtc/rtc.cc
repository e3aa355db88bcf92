// SPDX-License-Identifier: Apache-2.0
#include "devices/rtc/rtc.h"

#include <algorithm>
#include <chrono>

namespace lockstep::devices {

namespace {

enum Register : uint8_t {
    kSeconds,
    kSecondsAlarm,
    kMinutes,
    kMinutesAlarm,
    kHours,
    kHoursAlarm,
    kWeekday,
    kDay,
    kMonth,
    kYear,
    kA,
    kB,
    kC,
    kD,
    kCentury = 0x32,
};
constexpr uint8_t kClockRegisters[] = {kSeconds, kMinutes, kHours, kWeekday, kDay, kMonth, kYear, kCentury};

constexpr uint8_t kSet = 0x80, kPeriodic = 0x40, kAlarm = 0x20, kUpdate = 0x10, kBinary = 4, k24Hours = 2;
constexpr uint8_t kRequest = 0x80;       // register C
constexpr uint8_t kOscillatorOn = 0x26;  // register A: 32768 Hz, 1024 periodic interrupts a second
constexpr uint8_t kBatteryGood = 0x80;   // register D
constexpr uint8_t kDontCare = 0xc0;
constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr int64_t kSecond = kSecondNs;
constexpr int64_t kDayS = 86400;

struct Civil {
    unsigned second, minute, hour, weekday, day, month, year;
};

Civil civil(int64_t time_s) {
    using namespace std::chrono;
    sys_seconds time{seconds(time_s)};
    sys_days midnight = floor<days>(time);
    year_month_day date(midnight);
    unsigned of_day = static_cast<unsigned>((time - midnight).count());
    return {of_day % 60,
            of_day / 60 % 60,
            of_day / 3600,
            weekday(midnight).c_encoding() + 1,
            static_cast<unsigned>(date.day()),
            static_cast<unsigned>(date.month()),
            static_cast<unsigned>(static_cast<int>(date.year()))};
}

}  // namespace

Rtc::Rtc(uint64_t start_time_ns, bus::InterruptLine& line, bus::TimerQueue& timers)
    : line_(line), timers_(timers), timer_(timers.add([this] { timer_expired(); })) {
    state_.memory[kA] = kOscillatorOn;
    state_.memory[kB] = k24Hours;
    state_.base_s = static_cast<int64_t>(start_time_ns / kSecondNs);
    state_.base_ns = -static_cast<int64_t>(start_time_ns % kSecondNs);
    reset();
}

// What the pin of that name does, and the battery: time, alarm and memory stay.
void Rtc::reset() {
    state_.index = 0;
    state_.flags = 0;
    state_.memory[kB] &= static_cast<uint8_t>(~(kSet | kPeriodic | kAlarm | kUpdate));
    state_.seen_s = now_s();
    state_.timer_ns = bus::kNeverNs;
    timers_.disarm(timer_);
    update_line();
}

Result<void> Rtc::loaded() {
    constexpr int64_t kFarthest = int64_t{1} << 40;
    bool bad_base = state_.base_s < -kFarthest || state_.base_s > kFarthest || state_.base_ns < -kSecond ||
                    state_.base_ns > int64_t{1} << 62;
    if (bad_base || state_.index >= state_.memory.size())
        return error("the saved state of {} is damaged", name());
    timers_.arm(timer_, state_.timer_ns);
    return {};
}

int64_t Rtc::now_s() const {
    return state_.base_s + (static_cast<int64_t>(timers_.now_ns()) - state_.base_ns) / kSecond;
}

// ---- The form of a number: BCD or binary, hours to 12 or to 24

uint8_t Rtc::encode(unsigned value) const {
    if (state_.memory[kB] & kBinary) return static_cast<uint8_t>(value);
    return static_cast<uint8_t>(value / 10 % 10 << 4 | value % 10);
}

unsigned Rtc::decode(uint8_t value) const {
    return state_.memory[kB] & kBinary ? value : (value >> 4) * 10u + (value & 15u);
}

uint8_t Rtc::encode_hour(unsigned hour) const {
    if (state_.memory[kB] & k24Hours) return encode(hour);
    unsigned twelve = hour % 12 == 0 ? 12 : hour % 12;
    return encode(twelve) | (hour >= 12 ? 0x80 : 0);
}

unsigned Rtc::decode_hour(uint8_t value) const {
    if (state_.memory[kB] & k24Hours) return decode(value);
    return decode(value & 0x7f) % 12 + (value & 0x80 ? 12 : 0);
}

uint8_t Rtc::read_time(uint8_t reg) const {
    Civil now = civil(now_s());
    switch (reg) {
        case kSeconds:
            return encode(now.second);
        case kMinutes:
            return encode(now.minute);
        case kHours:
            return encode_hour(now.hour);
        case kWeekday:
            return encode(now.weekday);
        case kDay:
            return encode(now.day);
        case kMonth:
            return encode(now.month);
        case kYear:
            return encode(now.year % 100);
        default:
            return encode(now.year / 100);
    }
}

// ---- Setting the clock: while the SET bit is on, the registers are plain memory

void Rtc::freeze() {
    for (uint8_t reg : kClockRegisters) state_.memory[reg] = read_time(reg);
}

void Rtc::commit() {
    using namespace std::chrono;
    const auto& memory = state_.memory;
    year_month_day date(year(static_cast<int>(decode(memory[kCentury]) * 100 + decode(memory[kYear]))),
                        month(decode(memory[kMonth])), day(decode(memory[kDay])));
    int64_t time =
        decode_hour(memory[kHours]) * 3600ll + decode(memory[kMinutes]) * 60 + decode(memory[kSeconds]);
    if (date.ok() && time < kDayS) {
        // The seconds go on at the pace they had (see divider_stands()).
        state_.base_ns = static_cast<int64_t>(timers_.now_ns()) -
                         (static_cast<int64_t>(timers_.now_ns()) - state_.base_ns) % kSecond;
        state_.base_s = sys_days(date).time_since_epoch().count() * kDayS + time;
    }
    for (uint8_t reg : kClockRegisters) state_.memory[reg] = 0;
    state_.seen_s = now_s();
}

// ---- Interrupts

// The first second from `first` on that the alarm registers describe; -1 for an alarm that never comes.
int64_t Rtc::next_alarm_s(int64_t first) const {
    const auto& memory = state_.memory;
    auto matches = [](uint8_t alarm, uint8_t value) { return alarm >= kDontCare || alarm == value; };
    for (int64_t time_s = first; time_s < first + kDayS;) {
        Civil time = civil(time_s);
        if (!matches(memory[kHoursAlarm], encode_hour(time.hour)))
            time_s += 3600 - (time.minute * 60 + time.second);
        else if (!matches(memory[kMinutesAlarm], encode(time.minute)))
            time_s += 60 - time.second;
        else if (!matches(memory[kSecondsAlarm], encode(time.second)))
            ++time_s;
        else
            return time_s;
    }
    return -1;
}

uint64_t Rtc::when_ns(int64_t time_s) const {
    return static_cast<uint64_t>(state_.base_ns + (time_s - state_.base_s) * kSecond);
}

// Register A can stop the divider, which makes seconds of the oscillator's beats. Drivers do so while they set
// the clock: released, the first second ends half a second later.
bool Rtc::divider_stands() const { return (state_.memory[kA] & 0x60) == 0x60; }

uint64_t Rtc::periodic_ns() const {
    unsigned rate = state_.memory[kA] & 15;
    if (rate == 0) return 0;
    if (rate < 3) rate += 7;
    return kSecondNs * (uint64_t{1} << (rate - 1)) / 32768;
}

// Sets the flags of what has happened since the last call, as far as whole seconds tell.
void Rtc::catch_up() {
    int64_t now = now_s();
    if (state_.memory[kB] & kSet || now <= state_.seen_s) return;
    state_.flags |= kUpdate;
    if (state_.memory[kB] & kAlarm)
        if (int64_t alarm = next_alarm_s(state_.seen_s + 1); alarm >= 0 && alarm <= now) {
            state_.flags |= kAlarm;
            if (alarm_listener_) alarm_listener_();
        }
    state_.seen_s = now;
}

void Rtc::schedule() {
    uint8_t b = state_.memory[kB];
    uint64_t deadline = bus::kNeverNs, now = timers_.now_ns();
    if (b & kUpdate && !(b & kSet)) deadline = when_ns(now_s() + 1);
    if (b & kAlarm && !(b & kSet))
        if (int64_t alarm = next_alarm_s(now_s() + 1); alarm >= 0)
            deadline = std::min(deadline, when_ns(alarm));
    if (uint64_t period = periodic_ns(); b & kPeriodic && period)
        deadline = std::min(deadline, (now / period + 1) * period);
    state_.timer_ns = deadline;
    timers_.arm(timer_, deadline);
}

void Rtc::timer_expired() {
    catch_up();
    uint64_t period = periodic_ns();
    if (state_.memory[kB] & kPeriodic && period && state_.timer_ns % period == 0) state_.flags |= kPeriodic;
    schedule();
    update_line();
}

void Rtc::update_line() {
    bool wanted = state_.flags & state_.memory[kB] & (kPeriodic | kAlarm | kUpdate);
    state_.flags = static_cast<uint8_t>((state_.flags & ~kRequest) | (wanted ? kRequest : 0));
    line_.set_level(wanted);
}

// ---- Registers

uint8_t Rtc::read_memory(uint8_t reg) {
    bool is_clock =
        std::find(std::begin(kClockRegisters), std::end(kClockRegisters), reg) != std::end(kClockRegisters);
    if (is_clock && !(state_.memory[kB] & kSet)) return read_time(reg);
    if (reg == kD) return kBatteryGood;
    if (reg != kC) return state_.memory[reg];
    catch_up();
    update_line();
    uint8_t flags = state_.flags;
    state_.flags = 0;
    update_line();
    return flags;
}

void Rtc::write_memory(uint8_t reg, uint8_t value) {
    if (reg == kC || reg == kD) return;
    uint8_t b = state_.memory[kB];
    bool is_clock =
        std::find(std::begin(kClockRegisters), std::end(kClockRegisters), reg) != std::end(kClockRegisters);
    if (is_clock && !(b & kSet)) {
        freeze();
        state_.memory[reg] = value;
        commit();
        return schedule();
    }
    catch_up();
    if (reg == kA) value &= 0x7f;
    if (reg == kB && value & kSet && !(b & kSet)) freeze();
    bool set_ends = reg == kB && b & kSet && !(value & kSet);
    if (set_ends) commit();
    bool stood = divider_stands();
    int64_t second = now_s();
    state_.memory[reg] = value;
    if (is_clock) return;
    if (stood && !divider_stands()) {
        state_.base_s = state_.seen_s = second;
        state_.base_ns = static_cast<int64_t>(timers_.now_ns()) - kSecond / 2;
    }
    schedule();
    update_line();
}

uint64_t Rtc::read_register(uint64_t offset, unsigned size) {
    if (size != 1) return ~uint64_t{0};
    return offset == 0 ? 0xff : read_memory(state_.index);
}

void Rtc::write_register(uint64_t offset, unsigned size, uint64_t value) {
    if (size != 1) return;
    if (offset == 0)
        state_.index = value & 0x7f;
    else
        write_memory(state_.index, static_cast<uint8_t>(value));
}

}  // namespace lockstep::devices
