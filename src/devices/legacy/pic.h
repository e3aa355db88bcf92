// SPDX-License-Identifier: Apache-2.0
// The two 8259A interrupt controllers of a PC (Intel 8259A data sheet; the registers for level-triggered inputs
// are those of Intel's chipsets). The second's output is input 2 of the first, whose own reaches the processor by
// the local APIC's LINT0 (virtual wire) or, where that APIC is off, directly.
//
// Kernels that use the I/O APIC mask all inputs here; Linux with `noapic` is one that needs them. Not there: the
// special fully nested mode, and polling.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "devices/device_state.h"

namespace lockstep::devices {

inline constexpr uint16_t kPicPorts[] = {0x20, 0xa0};
inline constexpr uint16_t kPicPortCount = 2;
inline constexpr uint16_t kPicLevelPort = 0x4d0;  ///< a byte for each chip: which inputs are level-triggered
inline constexpr unsigned kPicInputs = 16;

struct PicChipState {
    uint8_t lines = 0;  ///< the inputs' levels
    uint8_t requested = 0;
    uint8_t in_service = 0;
    uint8_t mask = 0xff;
    uint8_t level = 0;           ///< level-triggered inputs
    uint8_t vector = 0;          ///< of input 0
    uint8_t lowest = 7;          ///< the input of the lowest priority
    uint8_t word_expected = 0;   ///< the initialisation command word to come, 2 to 4; 0: none
    uint8_t first_word = 0;      ///< the latest ICW1
    bool automatic_end = false;  ///< an interrupt ends by being taken
    bool rotates = false;        ///< ... and has the lowest priority then
    bool special_mask = false;   ///< inputs in service don't hold others off while they are masked
    bool shows_service = false;  ///< what the first port reads: in_service, else requested
    template <typename Codec>
    void fields(Codec& codec) {
        codec(lines, requested, in_service, mask, level, vector, lowest, word_expected, first_word,
              automatic_end, rotates, special_mask, shows_service);
    }
};

struct PicState {
    std::array<PicChipState, 2> chips;
    std::vector<uint8_t> lines;  ///< the level of each line, in the order in which the lines were made
    template <typename Codec>
    void fields(Codec& codec) {
        codec(chips, lines);
    }
};

class Pic : public StateDevice<PicState> {
  public:
    /// `level_inputs`: a bit for each input that is level-triggered from power-on, as a PC's firmware leaves those
    /// that PCI devices share.
    explicit Pic(uint16_t level_inputs = 0);
    bus::RegisterHandler& chip(unsigned number) { return chips_[number]; }
    bus::RegisterHandler& level_ports() { return level_ports_; }
    /// A new line to input 0 to 15, but not 2; lines of one input are joined by OR.
    bus::InterruptLine& line(unsigned input);

    /// Whether the first chip asks for the processor.
    bool interrupt_pending() const { return pending_; }
    /// Takes the interrupt; the vector of input 7 where none waits any more.
    uint8_t acknowledge_interrupt();

    std::string_view name() const override { return "pic"; }
    void reset() override;

  protected:
    Result<void> loaded() override;

  private:
    class Chip : public bus::RegisterHandler {
      public:
        Chip(Pic& pic, unsigned number) : pic_(pic), number_(number) {}
        uint64_t read_register(uint64_t offset, unsigned size) override;
        void write_register(uint64_t offset, unsigned size, uint64_t value) override;

      private:
        Pic& pic_;
        unsigned number_;
    };
    uint64_t read_level_port(uint64_t offset, unsigned size);
    void write_level_port(uint64_t offset, unsigned size, uint64_t value);
    class Line : public bus::InterruptLine {
      public:
        Line(Pic& pic, size_t number, unsigned line_input) : input(line_input), pic_(pic), number_(number) {}
        void set_level(bool asserted) override { pic_.set_line(number_, asserted); }
        const unsigned input;

      private:
        Pic& pic_;
        size_t number_;
    };

    bool input_asserted(unsigned input) const;
    void set_line(size_t number, bool asserted);
    void update();

    const uint16_t level_inputs_;
    std::array<Chip, 2> chips_;
    bus::MemberRegisters<Pic, &Pic::read_level_port, &Pic::write_level_port> level_ports_{*this};
    std::vector<std::unique_ptr<Line>> lines_;
    bool pending_ = false;  // follows from state_
};

}  // namespace lockstep::devices
