// SPDX-License-Identifier: Apache-2.0
#include "devices/legacy/hpet.h"

namespace lockstep::devices {

namespace {

constexpr uint64_t kTickNs = 10;
constexpr uint64_t kFemtosecondsInNs = 1'000'000;

// Registers (2.3); the timers' are 32 bytes each.
constexpr uint64_t kCapabilities = 0x00, kConfig = 0x10, kStatus = 0x20, kCount = 0xf0, kTimers = 0x100,
                   kTimerSize = 0x20, kTimerConfig = 0x00, kTimerComparator = 0x08;

constexpr uint64_t kCounts = 1, kReplaces = 2;  // the configuration
// A timer's configuration.
constexpr uint64_t kLevel = 1 << 1, kEnabled = 1 << 2, kPeriodic = 1 << 3, kCanBePeriodic = 1 << 4,
                   kWide = 1 << 5, kSetComparator = 1 << 6, kNarrowed = 1 << 8;
constexpr uint64_t kWritable = kLevel | kEnabled | kPeriodic | kSetComparator | kNarrowed;
constexpr unsigned kRouteShift = 9, kRoutesShift = 32;

constexpr uint64_t mask_of(const HpetTimer& timer) {
    return timer.config & kNarrowed ? 0xffffffff : ~uint64_t{0};
}

}  // namespace

Hpet::Hpet(std::array<bus::InterruptLine*, 2> legacy, std::array<bus::InterruptLine*, kHpetTimers> own,
           bus::TimerQueue& timers)
    : legacy_(legacy), own_(own), timers_(timers) {
    for (unsigned i = 0; i < kHpetTimers; ++i) ids_[i] = timers.add([this, i] { expired(i); });
}

void Hpet::reset() {
    state_ = {};
    schedule_all();
    update_lines();
}

Result<void> Hpet::loaded() {
    for (const HpetTimer& timer : state_.timers)
        if (timer.config & ~kWritable) return error("the saved state of {} is damaged", name());
    for (unsigned i = 0; i < kHpetTimers; ++i) timers_.arm(ids_[i], state_.deadlines_ns[i]);
    return {};
}

// ---- Counting

uint64_t Hpet::count() const {
    if (!(state_.config & kCounts)) return state_.count;
    return state_.count + (timers_.now_ns() - state_.start_ns) / kTickNs;
}

void Hpet::set_counting(bool counting) {
    state_.count = count();
    state_.start_ns = timers_.now_ns();
    state_.config = (state_.config & ~kCounts) | (counting ? kCounts : 0);
}

// A timer fires when the counter comes to its comparator, the next time round where it is there already.
void Hpet::schedule(unsigned number) {
    const HpetTimer& timer = state_.timers[number];
    uint64_t deadline_ns = bus::kNeverNs;
    if (state_.config & kCounts && timer.config & kEnabled) {
        uint64_t ticks = ((timer.comparator - count() - 1) & mask_of(timer)) + 1;
        uint64_t passed = count() - state_.count;
        constexpr uint64_t kFarthest = (uint64_t{1} << 62) / kTickNs;
        if (ticks && ticks < kFarthest && passed < kFarthest)
            deadline_ns = state_.start_ns + (passed + ticks) * kTickNs;
    }
    state_.deadlines_ns[number] = deadline_ns;
    timers_.arm(ids_[number], deadline_ns);
}

void Hpet::schedule_all() {
    for (unsigned i = 0; i < kHpetTimers; ++i) schedule(i);
}

void Hpet::expired(unsigned number) {
    HpetTimer& timer = state_.timers[number];
    // Periods that a jump of time has skipped are not made up for.
    if (timer.config & kPeriodic && timer.period) {
        uint64_t late = (count() - timer.comparator) & mask_of(timer);
        timer.comparator = (timer.comparator + (late / timer.period + 1) * timer.period) & mask_of(timer);
    }
    if (timer.config & kLevel)
        state_.status |= uint64_t{1} << number;
    else
        pulsed_ = number;
    update_lines();
    pulsed_ = kHpetTimers;
    update_lines();
    schedule(number);
}

// ---- Interrupts

bool Hpet::replaces(unsigned timer) const { return state_.config & kReplaces && timer < legacy_.size(); }

void Hpet::update_lines() {
    for (unsigned i = 0; i < kHpetTimers; ++i) {
        bool asks = (state_.status >> i & 1 && state_.timers[i].config & kEnabled) || pulsed_ == i;
        own_[i]->set_level(asks && !replaces(i));
        if (i < legacy_.size()) legacy_[i]->set_level(replaces(i) ? asks : state_.replaced[i]);
    }
}

// ---- Registers

uint64_t Hpet::read_word(uint64_t offset) const {
    switch (offset) {
        case kCapabilities:
            return kHpetIdentity | kTickNs * kFemtosecondsInNs << 32;
        case kConfig:
            return state_.config;
        case kStatus:
            return state_.status;
        case kCount:
            return count();
    }
    uint64_t number = (offset - kTimers) / kTimerSize;
    if (offset < kTimers || number >= kHpetTimers) return 0;
    const HpetTimer& timer = state_.timers[number];
    uint64_t pin = kHpetFirstPin + number;
    switch (offset % kTimerSize) {
        case kTimerConfig:
            return timer.config | kCanBePeriodic | kWide | pin << kRouteShift |
                   uint64_t{1} << pin << kRoutesShift;
        case kTimerComparator:
            return timer.comparator & mask_of(timer);
    }
    return 0;
}

void Hpet::write_timer(unsigned number, uint64_t offset, uint64_t value) {
    HpetTimer& timer = state_.timers[number];
    if (offset == kTimerConfig) {
        timer.config = value & kWritable;
        if (!(timer.config & kLevel)) state_.status &= ~(uint64_t{1} << number);
    } else if (offset == kTimerComparator) {
        // Of a periodic timer it is the period that is written, but for once after the bit that says otherwise.
        value &= mask_of(timer);
        if (!(timer.config & kPeriodic) || timer.config & kSetComparator) timer.comparator = value;
        if (timer.config & kPeriodic) timer.period = value;
        timer.config &= ~kSetComparator;
    }
    schedule(number);
}

void Hpet::write_word(uint64_t offset, uint64_t value) {
    if (offset >= kTimers && (offset - kTimers) / kTimerSize < kHpetTimers)
        write_timer(static_cast<unsigned>((offset - kTimers) / kTimerSize), offset % kTimerSize, value);
    if (offset == kStatus) state_.status &= ~value;
    if (offset == kConfig) {
        set_counting(value & kCounts);
        state_.config = value & (kCounts | kReplaces);
        schedule_all();
    }
    if (offset == kCount) {
        state_.count = value;
        state_.start_ns = timers_.now_ns();
        schedule_all();
    }
    update_lines();
}

// Words of 8 bytes, or either half of one.
uint64_t Hpet::read_register(uint64_t offset, unsigned size) {
    if ((size != 4 && size != 8) || offset % size) return 0;
    return read_word(offset & ~uint64_t{7}) >> 8 * (offset % 8);
}

void Hpet::write_register(uint64_t offset, unsigned size, uint64_t value) {
    if ((size != 4 && size != 8) || offset % size) return;
    uint64_t at = offset & ~uint64_t{7};
    if (size == 4) {
        unsigned shift = 8 * (offset % 8);
        // What is written to one half leaves the other as it is; of the status only ones count.
        uint64_t other = at == kStatus ? 0 : read_word(at) & ~(uint64_t{0xffffffff} << shift);
        value = other | static_cast<uint32_t>(value) * (uint64_t{1} << shift);
    }
    write_word(at, value);
}

}  // namespace lockstep::devices
