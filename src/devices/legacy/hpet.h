// SPDX-License-Identifier: Apache-2.0
// The high precision event timer of a PC (IA-PC HPET specification 1.0a), computed from guest time: a counter of 100 MHz
// and three timers. A kernel that won't use the local APIC's timer has its ticks from here.
//
// With legacy replacement timers 0 and 1 take the places of the interval timer and of the real-time clock, whose lines
// go through here for that; else each timer has a pin of the I/O APIC. Not there: interrupts as messages. A timer whose
// interrupt is off stands still.
#pragma once

#include <array>

#include "bus/timer_queue.h"
#include "devices/device_state.h"

namespace lockstep::devices {

inline constexpr uint64_t kHpetAddress = 0xfed00000;
inline constexpr uint64_t kHpetSize = 0x400;
inline constexpr unsigned kHpetTimers = 3;
inline constexpr unsigned kHpetFirstPin = 20;          ///< timer n without legacy replacement: this pin + n
inline constexpr uint32_t kHpetIdentity = 0x8086a201;  ///< the low half of the capabilities

struct HpetTimer {
    uint64_t config = 0;
    uint64_t comparator = ~uint64_t{0};
    uint64_t period = 0;  ///< ticks
    template <typename Codec>
    void fields(Codec& codec) {
        codec(config, comparator, period);
    }
};

struct HpetState {
    std::array<HpetTimer, kHpetTimers> timers;
    uint64_t config = 0;
    uint64_t status = 0;  ///< a bit for each timer whose level-triggered interrupt stands
    uint64_t count = 0;   ///< at start_ns, while it counts
    uint64_t start_ns = 0;
    std::array<uint64_t, kHpetTimers> deadlines_ns = {bus::kNeverNs, bus::kNeverNs, bus::kNeverNs};
    std::array<bool, 2> replaced{};  ///< levels of the lines that timers 0 and 1 take the places of
    template <typename Codec>
    void fields(Codec& codec) {
        codec(timers, config, status, count, start_ns, deadlines_ns, replaced);
    }
};

class Hpet : public StateDevice<HpetState>, public bus::RegisterHandler {
  public:
    /// `legacy`: to the inputs of the interval timer and of the real-time clock; `own`: each timer's own.
    Hpet(std::array<bus::InterruptLine*, 2> legacy, std::array<bus::InterruptLine*, kHpetTimers> own,
         bus::TimerQueue& timers);
    /// What the interval timer (0) and the real-time clock (1) are to be connected to: leads on to the legacy line of
    /// that number, but for the time of legacy replacement.
    bus::InterruptLine& replaced_line(unsigned number) { return replaced_lines_[number]; }

    std::string_view name() const override { return "hpet"; }
    void reset() override;
    uint64_t read_register(uint64_t offset, unsigned size) override;
    void write_register(uint64_t offset, unsigned size, uint64_t value) override;

  protected:
    Result<void> loaded() override;

  private:
    class ReplacedLine : public bus::InterruptLine {
      public:
        ReplacedLine(Hpet& hpet, unsigned number) : hpet_(hpet), number_(number) {}
        void set_level(bool asserted) override {
            hpet_.state_.replaced[number_] = asserted;
            hpet_.update_lines();
        }

      private:
        Hpet& hpet_;
        unsigned number_;
    };

    bool replaces(unsigned timer) const;
    uint64_t count() const;
    uint64_t read_word(uint64_t offset) const;
    void write_word(uint64_t offset, uint64_t value);
    void write_timer(unsigned number, uint64_t offset, uint64_t value);
    void set_counting(bool counting);
    void schedule(unsigned number);
    void schedule_all();
    void expired(unsigned number);
    void update_lines();

    std::array<bus::InterruptLine*, 2> legacy_;
    std::array<bus::InterruptLine*, kHpetTimers> own_;
    bus::TimerQueue& timers_;
    std::array<bus::TimerQueue::Id, kHpetTimers> ids_;
    std::array<ReplacedLine, 2> replaced_lines_{ReplacedLine(*this, 0), ReplacedLine(*this, 1)};
    unsigned pulsed_ = kHpetTimers;  // the timer whose edge is being made, for a moment
};

}  // namespace lockstep::devices
