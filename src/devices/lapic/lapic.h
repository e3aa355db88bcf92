// SPDX-License-Identifier: Apache-2.0
// The local APIC of the one vCPU (Intel SDM vol. 3, chapter 11): xAPIC registers in memory or x2APIC MSRs,
// the timer in its three modes, and the MSRs of time, on which the TSC-deadline timer depends.
//
// The timer counts guest time, one tick a nanosecond. There is one processor, so an interrupt to anyone else
// is dropped. NMI, SMI, INIT and start-up messages are dropped as well. The registers stay at 0xfee00000.
#pragma once

#include <array>
#include <functional>
#include <optional>

#include "bus/timer_queue.h"
#include "devices/device_state.h"

namespace lockstep::devices {

inline constexpr uint64_t kLapicAddress = 0xfee00000;
inline constexpr uint64_t kLapicSize = 0x1000;

/// 256 bits, one for each vector.
using VectorSet = std::array<uint32_t, 8>;

enum LapicLvt : unsigned {
    kLvtTimer,
    kLvtThermal,
    kLvtPerformance,
    kLvtLint0,
    kLvtLint1,
    kLvtError,
    kLvtCount
};

struct LapicState {
    uint64_t base = 0;  ///< IA32_APIC_BASE
    uint32_t task_priority = 0;
    uint32_t logical_destination = 0;
    uint32_t destination_format = 0;
    uint32_t spurious = 0;
    uint32_t error = 0;          ///< as the guest reads it
    uint32_t pending_error = 0;  ///< collected since the guest's last write
    uint64_t command = 0;        ///< ICR
    VectorSet requested{}, in_service{}, level{};
    std::array<uint32_t, kLvtCount> lvt{};
    uint32_t divide = 0;
    uint32_t initial_count = 0;
    uint64_t timer_deadline_ns = bus::kNeverNs;  ///< of the counting modes; kNeverNs: stopped
    uint64_t tsc_deadline = 0;                   ///< IA32_TSC_DEADLINE; 0: not armed
    uint64_t tsc_adjust = 0;                     ///< the time stamp counter is guest time plus this
    template <typename Codec>
    void fields(Codec& codec) {
        codec(base, task_priority, logical_destination, destination_format, spurious, error, pending_error,
              command, requested, in_service, level, lvt, divide, initial_count, timer_deadline_ns,
              tsc_deadline, tsc_adjust);
    }
};

class Lapic : public StateDevice<LapicState>, public bus::RegisterHandler, public bus::MessageInterrupts {
  public:
    explicit Lapic(bus::TimerQueue& timers);

    /// Called with the vector when a level-triggered interrupt ends: for the I/O APIC.
    void set_eoi_listener(std::function<void(uint8_t)> listener) { eoi_listener_ = std::move(listener); }

    /// Whether the 8259s reach the processor: by LINT0 as "external interrupt", or past an APIC that is off.
    bool takes_external_interrupts() const {
        constexpr uint32_t kDeliveryMode = 7 << 8, kMasked = 1 << 16;  // external interrupts are mode 7
        uint32_t lint0 = state_.lvt[kLvtLint0];
        return !enabled() || ((lint0 & kDeliveryMode) == kDeliveryMode && !(lint0 & kMasked));
    }
    bool interrupt_pending() const { return pending_vector_ != 0; }
    /// Takes the waiting interrupt; the spurious vector where none waits.
    uint8_t acknowledge_interrupt();

    /// CR8: bits 7:4 of the task priority.
    uint64_t task_priority() const { return state_.task_priority >> 4; }
    void set_task_priority(uint64_t value);

    /// IA32_APIC_BASE, IA32_TSC, IA32_TSC_ADJUST, IA32_TSC_DEADLINE, x2APIC. Empty, false: general protection
    /// fault.
    std::optional<uint64_t> read_msr(uint32_t number);
    bool write_msr(uint32_t number, uint64_t value);
    uint64_t tsc_adjust() const { return state_.tsc_adjust; }

    std::string_view name() const override { return "lapic"; }
    void reset() override;
    uint64_t read_register(uint64_t offset, unsigned size) override;
    void write_register(uint64_t offset, unsigned size, uint64_t value) override;
    void deliver_message(uint64_t address, uint32_t data) override;

    const LapicState& state() const { return state_; }

  protected:
    Result<void> loaded() override;

  private:
    bool enabled() const { return state_.base >> 11 & 1; }
    bool x2apic() const { return (state_.base >> 10 & 3) == 3; }
    bool software_enabled() const { return state_.spurious >> 8 & 1; }
    bool addressed(uint32_t destination, bool logical) const;
    void request(uint8_t vector, bool level);
    void end_of_interrupt();
    void update_pending();
    uint32_t processor_priority() const;

    std::optional<uint32_t> read_apic(unsigned index);
    bool write_apic(unsigned index, uint64_t value);
    bool write_apic_base(uint64_t value);
    void write_lvt(unsigned index, uint32_t value);
    void send_command(uint64_t command);
    void send_to(uint32_t destination, bool logical, uint64_t command);

    unsigned timer_mode() const { return state_.lvt[kLvtTimer] >> 17 & 3; }
    uint64_t tick_ns() const;
    uint32_t current_count() const;
    void start_timer();
    void timer_expired();
    void arm_tsc_deadline();

    bus::TimerQueue& timers_;
    bus::TimerQueue::Id timer_;
    std::function<void(uint8_t)> eoi_listener_;
    uint8_t pending_vector_ = 0;  // the vector to take next, 0: none; follows from state_
};

}  // namespace lockstep::devices
