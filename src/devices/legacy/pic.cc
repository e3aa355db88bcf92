// SPDX-License-Identifier: Apache-2.0
#include "devices/legacy/pic.h"

#include "base/check.h"

namespace lockstep::devices {

namespace {

constexpr unsigned kCascade = 2;  // the first chip's input for the second
constexpr unsigned kSpuriousInput = 7;
constexpr unsigned kNone = 8;
// Inputs that may be level-triggered: not the timer, keyboard, cascade, clock and coprocessor.
constexpr uint8_t kMayBeLevel[] = {0xf8, 0xde};

constexpr uint8_t kNeedsFourth = 1, kSingle = 2;  // ICW1

uint8_t bit(unsigned input) { return static_cast<uint8_t>(1u << input); }

/// Of these inputs the one of the highest priority.
unsigned first_of(const PicChipState& chip, uint8_t inputs) {
    for (unsigned i = 1; i <= 8; ++i)
        if (unsigned input = (chip.lowest + i) % 8; inputs & bit(input)) return input;
    return kNone;
}

/// How many inputs have a higher priority; more than all for kNone.
unsigned rank(const PicChipState& chip, unsigned input) {
    return input == kNone ? kNone : (input + 7 - chip.lowest) % 8;
}

/// The input to be taken next.
unsigned next_input(const PicChipState& chip) {
    unsigned wanted = first_of(chip, chip.requested & static_cast<uint8_t>(~chip.mask));
    uint8_t holding =
        chip.special_mask ? chip.in_service & static_cast<uint8_t>(~chip.mask) : chip.in_service;
    return rank(chip, wanted) < rank(chip, first_of(chip, holding)) ? wanted : kNone;
}

void set_input(PicChipState& chip, unsigned input, bool asserted) {
    bool rises = asserted && !(chip.lines & bit(input));
    bool level = chip.level & bit(input);
    chip.lines = static_cast<uint8_t>((chip.lines & ~bit(input)) | (asserted ? bit(input) : 0));
    if (level ? asserted : rises) chip.requested |= bit(input);
    if (level && !asserted) chip.requested &= static_cast<uint8_t>(~bit(input));
}

/// Returns the vector.
uint8_t take(PicChipState& chip, unsigned input) {
    if (!(chip.level & bit(input))) chip.requested &= static_cast<uint8_t>(~bit(input));
    if (!chip.automatic_end)
        chip.in_service |= bit(input);
    else if (chip.rotates)
        chip.lowest = static_cast<uint8_t>(input);
    return static_cast<uint8_t>(chip.vector + input);
}

// OCW2: ends of interrupts, and priorities.
void end_or_rotate(PicChipState& chip, uint8_t value) {
    constexpr uint8_t kEnd = 1, kSpecific = 2, kRotate = 4;
    uint8_t command = value >> 5;
    if (!(command & (kEnd | kSpecific))) {
        chip.rotates = command & kRotate;
        return;
    }
    unsigned input = command & kSpecific ? value & 7u : first_of(chip, chip.in_service);
    if (input == kNone) return;
    if (command & kEnd) chip.in_service &= static_cast<uint8_t>(~bit(input));
    if (command & kRotate) chip.lowest = static_cast<uint8_t>(input);
}

void begin_initialisation(PicChipState& chip, uint8_t value) {
    PicChipState fresh;
    fresh.lines = chip.lines;
    fresh.level = chip.level;
    fresh.requested = chip.lines & chip.level;
    fresh.vector = chip.vector;
    fresh.mask = 0;
    fresh.first_word = value;
    fresh.word_expected = 2;
    chip = fresh;
}

void go_on_with_initialisation(PicChipState& chip, uint8_t value) {
    if (chip.word_expected == 2) chip.vector = value & 0xf8;
    if (chip.word_expected == 4) chip.automatic_end = value & 2;
    bool third = chip.word_expected == 2 && !(chip.first_word & kSingle);
    bool fourth = chip.word_expected < 4 && !third && chip.first_word & kNeedsFourth;
    chip.word_expected = third ? 3 : fourth ? 4 : 0;
}

}  // namespace

Pic::Pic(uint16_t level_inputs) : level_inputs_(level_inputs), chips_{Chip(*this, 0), Chip(*this, 1)} {
    reset();
}

void Pic::reset() {
    state_ = {};
    for (unsigned i : {0u, 1u}) state_.chips[i].level = static_cast<uint8_t>(level_inputs_ >> 8 * i);
    state_.lines.assign(lines_.size(), 0);
    pending_ = false;
}

Result<void> Pic::loaded() {
    for (const PicChipState& chip : state_.chips)
        if (chip.lowest > 7 || chip.word_expected > 4)
            return error("the saved state of {} is damaged", name());
    if (state_.lines.size() != lines_.size())
        return error("the saved 8259s have {} interrupt lines, this machine's {}", state_.lines.size(),
                     lines_.size());
    update();
    return {};
}

bus::InterruptLine& Pic::line(unsigned input) {
    CHECK(input < kPicInputs && input != kCascade);
    lines_.push_back(std::make_unique<Line>(*this, lines_.size(), input));
    state_.lines.push_back(0);
    return *lines_.back();
}

bool Pic::input_asserted(unsigned input) const {
    for (size_t i = 0; i < lines_.size(); ++i)
        if (lines_[i]->input == input && state_.lines[i]) return true;
    return false;
}

void Pic::set_line(size_t number, bool asserted) {
    state_.lines[number] = asserted;
    unsigned input = lines_[number]->input;
    set_input(state_.chips[input / 8], input % 8, input_asserted(input));
    update();
}

void Pic::update() {
    set_input(state_.chips[0], kCascade, next_input(state_.chips[1]) != kNone);
    pending_ = next_input(state_.chips[0]) != kNone;
}

uint8_t Pic::acknowledge_interrupt() {
    unsigned input = next_input(state_.chips[0]);
    if (input == kNone) return static_cast<uint8_t>(state_.chips[0].vector + kSpuriousInput);
    uint8_t vector = take(state_.chips[0], input);
    if (input == kCascade) {
        PicChipState& second = state_.chips[1];
        unsigned behind = next_input(second);
        vector =
            behind == kNone ? static_cast<uint8_t>(second.vector + kSpuriousInput) : take(second, behind);
        set_input(state_.chips[0], kCascade, false);  // its output falls at the acknowledgement
    }
    update();
    return vector;
}

uint64_t Pic::Chip::read_register(uint64_t offset, unsigned) {
    const PicChipState& chip = pic_.state_.chips[number_];
    if (offset == 1) return chip.mask;
    return chip.shows_service ? chip.in_service : chip.requested;
}

void Pic::Chip::write_register(uint64_t offset, unsigned, uint64_t wide) {
    constexpr uint8_t kInitialise = 0x10, kThirdOperation = 8;
    PicChipState& chip = pic_.state_.chips[number_];
    auto value = static_cast<uint8_t>(wide);
    if (offset == 0 && value & kInitialise) {
        begin_initialisation(chip, value);
    } else if (offset == 0 && value & kThirdOperation) {
        if (value & 2) chip.shows_service = value & 1;
        if (value & 0x40) chip.special_mask = value & 0x20;
    } else if (offset == 0) {
        end_or_rotate(chip, value);
    } else if (chip.word_expected) {
        go_on_with_initialisation(chip, value);
    } else {
        chip.mask = value;
    }
    pic_.update();
}

uint64_t Pic::read_level_port(uint64_t offset, unsigned) { return state_.chips[offset & 1].level; }

void Pic::write_level_port(uint64_t offset, unsigned, uint64_t value) {
    PicChipState& chip = state_.chips[offset & 1];
    chip.level = static_cast<uint8_t>(value) & kMayBeLevel[offset & 1];
    chip.requested |= chip.lines & chip.level;
    update();
}

}  // namespace lockstep::devices
