// SPDX-License-Identifier: Apache-2.0
// The CMOS real-time clock (Motorola MC146818A data sheet) at ports 70 and 71, with 128 bytes of CMOS memory.
//
// Its time is the start time of the configuration plus guest time, or what the guest last set it to. A battery
// keeps it, the alarm and the CMOS memory over a reset, as on a PC; a VM that is started anew has the host's
// time.
#pragma once

#include <array>
#include <functional>

#include "bus/timer_queue.h"
#include "devices/device_state.h"

namespace lockstep::devices {

inline constexpr uint16_t kRtcPort = 0x70;
inline constexpr uint16_t kRtcPorts = 2;
inline constexpr unsigned kRtcPin = 8;

struct RtcState {
    uint8_t index = 0;
    std::array<uint8_t, 128> memory{};  ///< the clock registers hold the time only while the guest sets it
    int64_t base_s = 0;                 ///< a second of the clock, since 1970, which began ...
    int64_t base_ns = 0;                ///< ... at this guest time, maybe before power-on
    uint8_t flags = 0;                  ///< register C
    int64_t seen_s = 0;                 ///< the clock when register C last caught up
    uint64_t timer_ns = bus::kNeverNs;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(index, memory, base_s, base_ns, flags, seen_s, timer_ns);
    }
};

class Rtc : public StateDevice<RtcState>, public bus::RegisterHandler {
  public:
    /// `start_time_ns`: since 1970, at guest time 0.
    Rtc(uint64_t start_time_ns, bus::InterruptLine& line, bus::TimerQueue& timers);

    /// Hears of each alarm that is enabled: it wakes up a machine that sleeps.
    void set_alarm_listener(std::function<void()> listener) { alarm_listener_ = std::move(listener); }

    std::string_view name() const override { return "rtc"; }
    void reset() override;
    uint64_t read_register(uint64_t offset, unsigned size) override;
    void write_register(uint64_t offset, unsigned size, uint64_t value) override;

  protected:
    Result<void> loaded() override;

  private:
    int64_t now_s() const;
    uint8_t encode(unsigned value) const;
    unsigned decode(uint8_t value) const;
    uint8_t encode_hour(unsigned hour) const;
    unsigned decode_hour(uint8_t value) const;
    uint8_t read_time(uint8_t reg) const;
    uint8_t read_memory(uint8_t reg);
    void write_memory(uint8_t reg, uint8_t value);
    void freeze();
    void commit();
    int64_t next_alarm_s(int64_t first) const;
    uint64_t when_ns(int64_t time_s) const;
    bool divider_stands() const;
    uint64_t periodic_ns() const;
    void catch_up();
    void schedule();
    void timer_expired();
    void update_line();

    std::function<void()> alarm_listener_;
    bus::InterruptLine& line_;
    bus::TimerQueue& timers_;
    bus::TimerQueue::Id timer_;
};

}  // namespace lockstep::devices
