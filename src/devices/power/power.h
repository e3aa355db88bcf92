// SPDX-License-Identifier: Apache-2.0
// Power management: the fixed hardware of ACPI (ACPI specification 6.4, 4.8) and the ways in which a PC is
// reset.
//
//   power-off     PM1 control: sleep type S5 with the enable bit
//   power button  a bit of the PM1 status register, and the system control interrupt (SCI)
//   RTC alarm     the same: ends a sleep of the guest, in which it looks at nothing else
//   reset         the register that the FADT names (port cf9), or the pulse of the keyboard controller (port
//   64) PM timer      24 bits at 3.579545 MHz, computed from guest time
//
// ACPI mode is on from the start; there is no SMI.
#pragma once

#include "bus/timer_queue.h"
#include "devices/device_state.h"
#include "record/payloads.h"

namespace lockstep::devices {

/// PM1 event block (4), PM1 control (2), 2 unused, PM timer (4)
inline constexpr uint16_t kPowerPort = 0x600;
inline constexpr uint16_t kPowerPorts = 12;
inline constexpr uint16_t kPowerControlOffset = 4;
inline constexpr uint16_t kPowerTimerOffset = 8;
inline constexpr uint16_t kResetPort = 0xcf9;
inline constexpr uint8_t kResetValue = 6;
inline constexpr uint16_t kKeyboardPort = 0x64;
inline constexpr unsigned kSciPin = 9;
inline constexpr uint8_t kSleepTypeS5 = 5;  ///< as \_S5 in dsdt.asl says

enum class PowerRequest : uint8_t { kNone, kPowerOff, kReset };

struct PowerState {
    PowerRequest request = PowerRequest::kNone;
    uint16_t status = 0;
    uint16_t enable = 0;
    uint16_t control = 1;  ///< SCI_EN
    uint8_t reset_control = 0;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(request, status, enable, control, reset_control);
    }
};

class Power : public StateDevice<PowerState>, public bus::RegisterHandler {
  public:
    Power(bus::InterruptLine& sci, const bus::TimerQueue& timers);

    /// What the guest, or the operator, has asked for; stays until reset().
    PowerRequest request() const { return state_.request; }
    void control(record::PowerAction action);
    /// An alarm of the real-time clock.
    void rtc_alarm();
    /// A triple fault, say.
    void request_reset() { state_.request = PowerRequest::kReset; }

    bus::RegisterHandler& reset_port() { return reset_port_; }        ///< 1 port
    bus::RegisterHandler& keyboard_port() { return keyboard_port_; }  ///< 1 port

    std::string_view name() const override { return "power"; }
    void reset() override;
    uint64_t read_register(uint64_t offset, unsigned size) override;
    void write_register(uint64_t offset, unsigned size, uint64_t value) override;

  protected:
    Result<void> loaded() override;

  private:
    uint64_t read_reset_port(uint64_t offset, unsigned size);
    void write_reset_port(uint64_t offset, unsigned size, uint64_t value);
    uint64_t read_keyboard_port(uint64_t offset, unsigned size);
    void write_keyboard_port(uint64_t offset, unsigned size, uint64_t value);
    uint8_t read_byte(unsigned offset) const;
    void write_byte(unsigned offset, uint8_t value);
    void update_line();

    bus::InterruptLine& sci_;
    const bus::TimerQueue& timers_;
    bus::MemberRegisters<Power, &Power::read_reset_port, &Power::write_reset_port> reset_port_{*this};
    bus::MemberRegisters<Power, &Power::read_keyboard_port, &Power::write_keyboard_port> keyboard_port_{
        *this};
};

}  // namespace lockstep::devices
