// SPDX-License-Identifier: Apache-2.0
#include "devices/pci/config_space.h"

#include "base/check.h"

namespace lockstep::devices {

unsigned PciConfigSpace::add_capability(uint8_t number, ByteSpan body) {
    unsigned offset = next_free_;
    CHECK(offset + 2 + body.size() <= bytes_.size());
    define<uint8_t>(last_capability_ ? last_capability_ + 1 : kPciCapabilities, static_cast<uint8_t>(offset));
    define<uint8_t>(offset, number);
    for (size_t i = 0; i < body.size(); ++i) define<uint8_t>(static_cast<unsigned>(offset + 2 + i), body[i]);
    last_capability_ = offset;
    next_free_ = static_cast<unsigned>((offset + 2 + body.size() + 3) & ~size_t{3});
    return offset;
}

uint32_t PciConfigSpace::read(unsigned offset, unsigned size) const {
    uint32_t value = 0;
    for (unsigned i = 0; i < size && offset + i < bytes_.size(); ++i)
        value |= uint32_t{bytes_[offset + i]} << 8 * i;
    return value;
}

void PciConfigSpace::write(unsigned offset, unsigned size, uint32_t value) {
    for (unsigned i = 0; i < size && offset + i < bytes_.size(); ++i) {
        uint8_t mask = writable_[offset + i], byte = static_cast<uint8_t>(value >> 8 * i);
        bytes_[offset + i] = static_cast<uint8_t>((bytes_[offset + i] & ~mask) | (byte & mask));
    }
}

void PciConfigSpace::load(const std::array<uint8_t, 256>& saved) {
    for (size_t i = 0; i < bytes_.size(); ++i)
        bytes_[i] = static_cast<uint8_t>((power_on_[i] & ~writable_[i]) | (saved[i] & writable_[i]));
}

}  // namespace lockstep::devices
