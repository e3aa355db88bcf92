// SPDX-License-Identifier: Apache-2.0
// The 8254 interval timer and port 61, computed from guest time. A kernel that isn't told the frequencies of
// its clocks measures them here; channel 0 can interrupt, channel 2 is gated and watched through port 61.
#pragma once

#include <array>

#include "bus/timer_queue.h"
#include "devices/device_state.h"

namespace lockstep::devices {

inline constexpr uint16_t kPitPort = 0x40;
inline constexpr uint16_t kPitPorts = 4;
inline constexpr uint16_t kPitControlPort = 0x61;
inline constexpr unsigned kPitPin = 2;  ///< IRQ 0 by the interrupt source override of the MADT
inline constexpr uint64_t kPitHz = 1193182;

struct PitChannel {
    uint8_t mode = 3;
    uint8_t access = 3;       ///< 1: low byte, 2: high byte, 3: low then high
    bool write_high = false;  ///< with access 3: the next byte is the high one
    bool read_high = false;
    uint8_t low = 0;  ///< the low byte written, waiting for the high one
    uint32_t reload = 0x10000;
    bool counting = false;
    uint64_t start_ns = 0;  ///< when the count began
    bool latched = false;
    uint16_t latch = 0;
    bool status_latched = false;
    uint8_t status = 0;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(mode, access, write_high, read_high, low, reload, counting, start_ns, latched, latch,
              status_latched, status);
    }
};

struct PitState {
    std::array<PitChannel, 3> channels;
    uint8_t control = 0;  ///< port 61, bits 0 (gate of channel 2) and 1 (speaker)
    uint64_t timer_ns = bus::kNeverNs;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(channels, control, timer_ns);
    }
};

class Pit : public StateDevice<PitState>, public bus::RegisterHandler {
  public:
    Pit(bus::InterruptLine& line, bus::TimerQueue& timers);
    bus::RegisterHandler& control_port() { return control_port_; }

    std::string_view name() const override { return "pit"; }
    void reset() override;
    uint64_t read_register(uint64_t offset, unsigned size) override;
    void write_register(uint64_t offset, unsigned size, uint64_t value) override;

  protected:
    Result<void> loaded() override;

  private:
    uint64_t read_control_port(uint64_t offset, unsigned size);
    void write_control_port(uint64_t offset, unsigned size, uint64_t value);
    uint64_t ticks(const PitChannel& channel) const;
    uint16_t count(const PitChannel& channel) const;
    bool output(const PitChannel& channel) const;
    void write_command(uint8_t value);
    void write_count(unsigned number, uint8_t value);
    void start(unsigned number, uint32_t reload);
    uint8_t read_count(unsigned number);
    void schedule();
    void timer_expired();

    bus::InterruptLine& line_;
    bus::TimerQueue& timers_;
    bus::TimerQueue::Id timer_;
    bus::MemberRegisters<Pit, &Pit::read_control_port, &Pit::write_control_port> control_port_{*this};
};

}  // namespace lockstep::devices
