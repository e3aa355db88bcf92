// SPDX-License-Identifier: Apache-2.0
// The I/O APIC (82093AA data sheet): 24 pins, edge and level, from which it sends messages to the local APIC.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "devices/device_state.h"

namespace lockstep::devices {

inline constexpr uint64_t kIoapicAddress = 0xfec00000;
inline constexpr uint64_t kIoapicSize = 0x1000;
inline constexpr unsigned kIoapicPins = 24;

struct IoapicState {
    uint32_t selected = 0;
    uint32_t id = 0;
    std::array<uint64_t, kIoapicPins> redirection{};
    std::vector<uint8_t> lines;  ///< the level of each line, in the order in which the lines were made
    template <typename Codec>
    void fields(Codec& codec) {
        codec(selected, id, redirection, lines);
    }
};

class Ioapic : public StateDevice<IoapicState>, public bus::RegisterHandler {
  public:
    explicit Ioapic(bus::MessageInterrupts& messages);

    /// A new line to a pin; lines of one pin are joined by OR.
    bus::InterruptLine& line(unsigned pin);
    /// The local APIC ended a level-triggered interrupt of this vector.
    void end_of_interrupt(uint8_t vector);

    std::string_view name() const override { return "ioapic"; }
    void reset() override;
    uint64_t read_register(uint64_t offset, unsigned size) override;
    void write_register(uint64_t offset, unsigned size, uint64_t value) override;

  protected:
    Result<void> loaded() override;

  private:
    class Line : public bus::InterruptLine {
      public:
        Line(Ioapic& ioapic, unsigned number, unsigned line_pin)
            : pin(line_pin), ioapic_(ioapic), number_(number) {}
        void set_level(bool asserted) override { ioapic_.set_line(number_, asserted); }
        const unsigned pin;

      private:
        Ioapic& ioapic_;
        unsigned number_;
    };
    bool pin_asserted(unsigned pin) const;
    void set_line(unsigned number, bool asserted);
    void send(unsigned pin);
    void send_if_level_asserted(unsigned pin);
    uint32_t read_indirect() const;
    void write_indirect(uint32_t value);

    bus::MessageInterrupts& messages_;
    std::vector<std::unique_ptr<Line>> lines_;
};

}  // namespace lockstep::devices
