// SPDX-License-Identifier: Apache-2.0
#include "devices/ioapic/ioapic.h"

#include "base/check.h"

namespace lockstep::devices {

namespace {

// Registers reached directly.
constexpr uint64_t kSelect = 0x00, kWindow = 0x10, kEoi = 0x40;
// Registers reached through the window.
constexpr uint32_t kId = 0, kVersion = 1, kArbitration = 2, kRedirection = 0x10;
// Version 0x20 has the EOI register.
constexpr uint32_t kVersionValue = 0x20 | (kIoapicPins - 1) << 16;

// Redirection entries. The pins' polarity bit changes nothing here: lines are asserted or not.
constexpr uint64_t kVectorBits = 0xff, kDeliveryMode = 7ull << 8, kLogical = 1ull << 11,
                   kRemoteIrr = 1ull << 14, kLevel = 1ull << 15, kMasked = 1ull << 16;
constexpr uint64_t kReadOnly = 1ull << 12 | kRemoteIrr;
constexpr uint64_t kImplemented = 0xff0000000001ffff;

}  // namespace

Ioapic::Ioapic(bus::MessageInterrupts& messages) : messages_(messages) { reset(); }

void Ioapic::reset() {
    state_.selected = 0;
    state_.id = 0;
    state_.redirection.fill(kMasked);
    state_.lines.assign(lines_.size(), 0);
}

Result<void> Ioapic::loaded() {
    if (state_.lines.size() != lines_.size())
        return error("the saved I/O APIC has {} interrupt lines, this machine has {}", state_.lines.size(),
                     lines_.size());
    return {};
}

bus::InterruptLine& Ioapic::line(unsigned pin) {
    CHECK(pin < kIoapicPins);
    lines_.push_back(std::make_unique<Line>(*this, static_cast<unsigned>(lines_.size()), pin));
    state_.lines.push_back(0);
    return *lines_.back();
}

bool Ioapic::pin_asserted(unsigned pin) const {
    for (size_t i = 0; i < lines_.size(); ++i)
        if (lines_[i]->pin == pin && state_.lines[i]) return true;
    return false;
}

void Ioapic::set_line(unsigned number, bool asserted) {
    if (state_.lines[number] == asserted) return;
    unsigned pin = lines_[number]->pin;
    bool before = pin_asserted(pin);
    state_.lines[number] = asserted;
    if (before || !asserted) return;
    uint64_t entry = state_.redirection[pin];
    if (entry & kMasked) return;
    if (entry & kLevel)
        send_if_level_asserted(pin);
    else
        send(pin);
}

void Ioapic::send_if_level_asserted(unsigned pin) {
    uint64_t& entry = state_.redirection[pin];
    if (!(entry & kLevel) || entry & (kMasked | kRemoteIrr) || !pin_asserted(pin)) return;
    entry |= kRemoteIrr;
    send(pin);
}

// An entry is sent as the message that a PCI device would write (Intel SDM vol. 3, 11.11).
void Ioapic::send(unsigned pin) {
    uint64_t entry = state_.redirection[pin];
    uint64_t address = 0xfee00000 | (entry >> 56) << 12 | (entry & kLogical ? 1u << 2 : 0);
    uint32_t data = static_cast<uint32_t>(entry & (kVectorBits | kDeliveryMode));
    if (entry & kLevel) data |= 1u << 15 | 1u << 14;
    messages_.deliver_message(address, data);
}

void Ioapic::end_of_interrupt(uint8_t vector) {
    for (unsigned pin = 0; pin < kIoapicPins; ++pin) {
        uint64_t& entry = state_.redirection[pin];
        if ((entry & kVectorBits) != vector || !(entry & kLevel)) continue;
        entry &= ~kRemoteIrr;
        send_if_level_asserted(pin);
    }
}

uint64_t Ioapic::read_register(uint64_t offset, unsigned size) {
    if (size != 4) return ~uint64_t{0};
    if (offset == kSelect) return state_.selected;
    return offset == kWindow ? read_indirect() : 0;
}

void Ioapic::write_register(uint64_t offset, unsigned size, uint64_t value) {
    if (offset == kSelect) state_.selected = value & 0xff;
    if (size != 4) return;
    if (offset == kWindow) write_indirect(static_cast<uint32_t>(value));
    if (offset == kEoi) end_of_interrupt(static_cast<uint8_t>(value));
}

uint32_t Ioapic::read_indirect() const {
    switch (state_.selected) {
        case kId:
        case kArbitration:
            return state_.id;
        case kVersion:
            return kVersionValue;
    }
    uint32_t index = state_.selected - kRedirection;
    if (state_.selected < kRedirection || index / 2 >= kIoapicPins) return 0;
    return static_cast<uint32_t>(state_.redirection[index / 2] >> (index % 2 ? 32 : 0));
}

void Ioapic::write_indirect(uint32_t value) {
    if (state_.selected == kId) state_.id = value & 0x0f000000;
    uint32_t index = state_.selected - kRedirection;
    if (state_.selected < kRedirection || index / 2 >= kIoapicPins) return;
    uint64_t& entry = state_.redirection[index / 2];
    uint64_t wanted =
        index % 2 ? (entry & 0xffffffff) | uint64_t{value} << 32 : (entry & ~0xffffffffull) | value;
    entry = (wanted & kImplemented & ~kReadOnly) | (entry & kRemoteIrr);
    if (!(entry & kLevel)) entry &= ~kRemoteIrr;
    send_if_level_asserted(index / 2);
}

}  // namespace lockstep::devices
