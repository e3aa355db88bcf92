// SPDX-License-Identifier: Apache-2.0
#include "devices/lapic/lapic.h"

#include <bit>

namespace lockstep::devices {

namespace {

// Registers, numbered as x2APIC does; in memory each takes 16 bytes (Intel SDM vol. 3, tables 11-1 and 11-6).
constexpr unsigned kId = 0x02, kVersion = 0x03, kTaskPriority = 0x08, kProcessorPriority = 0x0a, kEoi = 0x0b,
                   kLogicalDestination = 0x0d, kDestinationFormat = 0x0e, kSpurious = 0x0f, kInService = 0x10,
                   kTriggerMode = 0x18, kRequested = 0x20, kErrorStatus = 0x28, kCommandLow = 0x30,
                   kCommandHigh = 0x31, kLvtFirst = 0x32, kInitialCount = 0x38, kCurrentCount = 0x39,
                   kDivide = 0x3e, kSelfIpi = 0x3f;

constexpr uint32_t kMsrTsc = 0x10, kMsrApicBase = 0x1b, kMsrTscAdjust = 0x3b, kMsrTscDeadline = 0x6e0,
                   kMsrX2apic = 0x800;

constexpr uint64_t kBaseProcessor = 1 << 8, kBaseX2apic = 1 << 10, kBaseEnabled = 1 << 11;
constexpr uint32_t kVersionValue = 0x14 | (kLvtCount - 1) << 16;
constexpr uint32_t kLvtMasked = 1 << 16;
// How a PC's firmware leaves LINT0: kernels that don't know this APIC have their interrupts from the 8259s.
constexpr uint32_t kExternalInterrupts = 7 << 8;
constexpr uint32_t kErrorSendIllegal = 1 << 5, kErrorReceiveIllegal = 1 << 6;
constexpr unsigned kModePeriodic = 1, kModeTscDeadline = 2;
constexpr uint8_t kFirstLegalVector = 16;

// Which bits of each entry of the local vector table the guest may write.
constexpr std::array<uint32_t, kLvtCount> kLvtWritable = {
    0x000710ff & ~0x1700u, 0x000107ff, 0x000107ff, 0x0001a7ff, 0x0001a7ff, 0x000100ff};

void set(VectorSet& vectors, uint8_t vector) { vectors[vector / 32] |= 1u << vector % 32; }
void clear(VectorSet& vectors, uint8_t vector) { vectors[vector / 32] &= ~(1u << vector % 32); }
bool has(const VectorSet& vectors, uint8_t vector) { return vectors[vector / 32] >> vector % 32 & 1; }

// The highest vector of the set; 0 where it is empty.
uint8_t highest(const VectorSet& vectors) {
    for (unsigned word = 8; word-- > 0;)
        if (vectors[word]) return static_cast<uint8_t>(word * 32 + 31 - std::countl_zero(vectors[word]));
    return 0;
}

}  // namespace

Lapic::Lapic(bus::TimerQueue& timers) : timers_(timers), timer_(timers.add([this] { timer_expired(); })) {
    reset();
}

void Lapic::reset() {
    state_ = {};
    state_.base = kLapicAddress | kBaseProcessor | kBaseEnabled;
    state_.destination_format = ~0u;
    state_.spurious = 0xff;
    state_.lvt.fill(kLvtMasked);
    state_.lvt[kLvtLint0] = kExternalInterrupts;
    timers_.disarm(timer_);
    update_pending();
}

Result<void> Lapic::loaded() {
    if (timer_mode() == kModeTscDeadline)
        arm_tsc_deadline();
    else
        timers_.arm(timer_, state_.timer_deadline_ns);
    update_pending();
    return {};
}

// ---- Priorities and delivery (11.8)

uint32_t Lapic::processor_priority() const {
    uint32_t service = highest(state_.in_service) & 0xf0u;
    return (state_.task_priority & 0xf0) >= service ? state_.task_priority : service;
}

void Lapic::update_pending() {
    uint8_t vector = enabled() && software_enabled() ? highest(state_.requested) : 0;
    pending_vector_ = (vector & 0xf0u) > (processor_priority() & 0xf0) ? vector : 0;
}

uint8_t Lapic::acknowledge_interrupt() {
    uint8_t vector = pending_vector_;
    if (vector == 0) return static_cast<uint8_t>(state_.spurious);
    clear(state_.requested, vector);
    set(state_.in_service, vector);
    update_pending();
    return vector;
}

void Lapic::request(uint8_t vector, bool is_level) {
    if (vector < kFirstLegalVector) {
        state_.pending_error |= kErrorReceiveIllegal;
        return;
    }
    if (!enabled() || !software_enabled()) return;
    set(state_.requested, vector);
    if (is_level)
        set(state_.level, vector);
    else
        clear(state_.level, vector);
    update_pending();
}

void Lapic::end_of_interrupt() {
    uint8_t vector = highest(state_.in_service);
    if (vector == 0) return;
    clear(state_.in_service, vector);
    update_pending();
    if (has(state_.level, vector) && eoi_listener_) eoi_listener_(vector);
}

void Lapic::set_task_priority(uint64_t value) {
    state_.task_priority = static_cast<uint32_t>(value & 15) << 4;
    update_pending();
}

// Our identifier is 0; in x2APIC mode the logical one is cluster 0, member 0 (11.6.2, 11.12.10).
bool Lapic::addressed(uint32_t destination, bool logical) const {
    if (destination == 0xff || destination == ~0u) return true;
    if (!logical) return destination == 0;
    if (x2apic()) return (destination >> 16) == 0 && (destination & 1);
    uint32_t own = state_.logical_destination >> 24;
    if (state_.destination_format >> 28 == 0xf) return own & destination;
    return own >> 4 == destination >> 4 && (own & destination & 15);
}

void Lapic::deliver_message(uint64_t address, uint32_t data) {
    constexpr uint32_t kFixed = 0, kLowestPriority = 1;
    uint32_t mode = data >> 8 & 7;
    if (address >> 20 != kLapicAddress >> 20 || (mode != kFixed && mode != kLowestPriority)) return;
    if (addressed(address >> 12 & 0xff, address >> 2 & 1))
        request(static_cast<uint8_t>(data), data >> 15 & 1);
}

void Lapic::send_to(uint32_t destination, bool logical, uint64_t command) {
    constexpr uint64_t kFixed = 0, kLowestPriority = 1, kSelf = 1, kAllWithSelf = 2, kAllButSelf = 3;
    uint64_t mode = command >> 8 & 7, shorthand = command >> 18 & 3;
    uint8_t vector = static_cast<uint8_t>(command);
    if (mode != kFixed && mode != kLowestPriority) return;
    if (vector < kFirstLegalVector) {
        state_.pending_error |= kErrorSendIllegal;
        return;
    }
    if (shorthand == kAllButSelf) return;
    if (shorthand == kSelf || shorthand == kAllWithSelf || addressed(destination, logical))
        request(vector, false);
}

void Lapic::send_command(uint64_t command) {
    uint32_t destination = static_cast<uint32_t>(x2apic() ? command >> 32 : command >> 56);
    send_to(destination, command >> 11 & 1, command);
}

// ---- Timer (11.5.4)

uint64_t Lapic::tick_ns() const {
    unsigned code = (state_.divide & 3) | (state_.divide >> 1 & 4);
    return code == 7 ? 1 : uint64_t{2} << code;
}

uint32_t Lapic::current_count() const {
    uint64_t now = timers_.now_ns();
    if (state_.timer_deadline_ns == bus::kNeverNs || state_.timer_deadline_ns <= now) return 0;
    return static_cast<uint32_t>((state_.timer_deadline_ns - now + tick_ns() - 1) / tick_ns());
}

void Lapic::start_timer() {
    state_.timer_deadline_ns =
        state_.initial_count ? timers_.now_ns() + state_.initial_count * tick_ns() : bus::kNeverNs;
    timers_.arm(timer_, state_.timer_deadline_ns);
}

void Lapic::arm_tsc_deadline() {
    if (state_.tsc_deadline == 0) return timers_.disarm(timer_);
    uint64_t now = timers_.now_ns(), now_tsc = now + state_.tsc_adjust;
    uint64_t wait = state_.tsc_deadline > now_tsc ? state_.tsc_deadline - now_tsc : 0;
    timers_.arm(timer_, wait < bus::kNeverNs - now ? now + wait : bus::kNeverNs);
}

void Lapic::timer_expired() {
    if (timer_mode() == kModeTscDeadline) {
        state_.tsc_deadline = 0;
    } else if (timer_mode() == kModePeriodic && state_.initial_count) {
        // Periods that a jump of time has skipped are not made up for.
        uint64_t period = state_.initial_count * tick_ns();
        uint64_t late = timers_.now_ns() - state_.timer_deadline_ns;
        state_.timer_deadline_ns += (late / period + 1) * period;
        timers_.arm(timer_, state_.timer_deadline_ns);
    } else {
        state_.timer_deadline_ns = bus::kNeverNs;
    }
    uint32_t entry = state_.lvt[kLvtTimer];
    if (!(entry & kLvtMasked)) request(static_cast<uint8_t>(entry), false);
}

void Lapic::write_lvt(unsigned index, uint32_t value) {
    unsigned mode_before = timer_mode();
    value &= kLvtWritable[index];
    if (!software_enabled()) value |= kLvtMasked;
    state_.lvt[index] = value;
    if (index != kLvtTimer || (mode_before == kModeTscDeadline) == (timer_mode() == kModeTscDeadline)) return;
    state_.tsc_deadline = 0;
    state_.initial_count = 0;
    state_.timer_deadline_ns = bus::kNeverNs;
    timers_.disarm(timer_);
}

// ---- Registers

std::optional<uint32_t> Lapic::read_apic(unsigned index) {
    if (index >= kInService && index < kInService + 8) return state_.in_service[index - kInService];
    if (index >= kTriggerMode && index < kTriggerMode + 8) return state_.level[index - kTriggerMode];
    if (index >= kRequested && index < kRequested + 8) return state_.requested[index - kRequested];
    if (index >= kLvtFirst && index < kLvtFirst + kLvtCount) return state_.lvt[index - kLvtFirst];
    switch (index) {
        case kId:
            return 0;
        case kVersion:
            return kVersionValue;
        case kTaskPriority:
            return state_.task_priority;
        case kProcessorPriority:
            return processor_priority();
        case kLogicalDestination:
            return x2apic() ? 1 : state_.logical_destination;
        case kDestinationFormat:
            return state_.destination_format;
        case kSpurious:
            return state_.spurious;
        case kErrorStatus:
            return state_.error;
        case kCommandLow:
            return static_cast<uint32_t>(state_.command);
        case kCommandHigh:
            return static_cast<uint32_t>(state_.command >> 32);
        case kInitialCount:
            return state_.initial_count;
        case kCurrentCount:
            return current_count();
        case kDivide:
            return state_.divide;
    }
    return std::nullopt;
}

bool Lapic::write_apic(unsigned index, uint64_t value) {
    uint32_t low = static_cast<uint32_t>(value);
    if (index >= kLvtFirst && index < kLvtFirst + kLvtCount) {
        write_lvt(index - kLvtFirst, low);
        return true;
    }
    switch (index) {
        case kTaskPriority:
            state_.task_priority = low & 0xff;
            break;
        case kEoi:
            end_of_interrupt();
            break;
        case kLogicalDestination:
            state_.logical_destination = low & 0xff000000;
            break;
        case kDestinationFormat:
            state_.destination_format = low | 0x0fffffff;
            break;
        case kSpurious:
            state_.spurious = low & 0x1ff;
            if (!software_enabled())
                for (uint32_t& entry : state_.lvt) entry |= kLvtMasked;
            break;
        case kErrorStatus:
            state_.error = std::exchange(state_.pending_error, 0);
            break;
        case kCommandLow:
            state_.command =
                x2apic() ? value & ~0x1000ull : (state_.command & ~0xffffffffull) | (low & ~0x1000u);
            send_command(state_.command);
            break;
        case kCommandHigh:
            state_.command = (state_.command & 0xffffffff) | uint64_t{low} << 32;
            break;
        case kInitialCount:
            if (timer_mode() == kModeTscDeadline) break;
            state_.initial_count = low;
            start_timer();
            break;
        case kDivide: {
            uint64_t left = current_count();
            state_.divide = low & 0xb;
            if (state_.timer_deadline_ns == bus::kNeverNs) break;
            state_.timer_deadline_ns = timers_.now_ns() + left * tick_ns();
            timers_.arm(timer_, state_.timer_deadline_ns);
            break;
        }
        default:
            return false;
    }
    update_pending();
    return true;
}

uint64_t Lapic::read_register(uint64_t offset, unsigned size) {
    if (!enabled() || x2apic()) return ~uint64_t{0};
    if (size != 4 || offset % 16) return 0;
    return read_apic(static_cast<unsigned>(offset / 16)).value_or(0);
}

void Lapic::write_register(uint64_t offset, unsigned size, uint64_t value) {
    if (!enabled() || x2apic() || size != 4 || offset % 16) return;
    write_apic(static_cast<unsigned>(offset / 16), value);
}

// ---- MSRs

bool Lapic::write_apic_base(uint64_t value) {
    uint64_t mode = value & (kBaseEnabled | kBaseX2apic), before = state_.base & (kBaseEnabled | kBaseX2apic);
    if ((value & ~(kBaseEnabled | kBaseX2apic | kBaseProcessor)) != kLapicAddress) return false;
    if (mode == kBaseX2apic) return false;
    if (before == 0 && mode & kBaseX2apic) return false;
    if (before & kBaseX2apic && mode == kBaseEnabled) return false;
    if (mode == 0 && before != 0) {
        uint64_t adjust = state_.tsc_adjust;
        reset();
        state_.tsc_adjust = adjust;
    }
    state_.base = kLapicAddress | kBaseProcessor | mode;
    update_pending();
    return true;
}

std::optional<uint64_t> Lapic::read_msr(uint32_t number) {
    switch (number) {
        case kMsrTsc:
            return timers_.now_ns() + state_.tsc_adjust;
        case kMsrTscAdjust:
            return state_.tsc_adjust;
        case kMsrTscDeadline:
            return state_.tsc_deadline;
        case kMsrApicBase:
            return state_.base;
    }
    unsigned index = number - kMsrX2apic;
    if (!x2apic() || index > kSelfIpi || index == kDestinationFormat || index == kCommandHigh)
        return std::nullopt;
    if (index == kCommandLow) return state_.command;
    return read_apic(index);
}

bool Lapic::write_msr(uint32_t number, uint64_t value) {
    switch (number) {
        case kMsrTsc:
        case kMsrTscAdjust:
            state_.tsc_adjust = number == kMsrTsc ? value - timers_.now_ns() : value;
            if (timer_mode() == kModeTscDeadline) arm_tsc_deadline();
            return true;
        case kMsrTscDeadline:
            if (timer_mode() != kModeTscDeadline) return true;
            state_.tsc_deadline = value;
            arm_tsc_deadline();
            return true;
        case kMsrApicBase:
            return write_apic_base(value);
    }
    unsigned index = number - kMsrX2apic;
    if (!x2apic() || index > kSelfIpi) return false;
    if (index != kCommandLow && value >> 32) return false;
    switch (index) {
        case kSelfIpi:
            send_to(0, false, (value & 0xff));
            return true;
        case kLogicalDestination:
        case kDestinationFormat:
        case kCommandHigh:
            return false;
        case kEoi:
        case kErrorStatus:
            if (value != 0) return false;
            break;
    }
    return write_apic(index, value);
}

}  // namespace lockstep::devices
