// SPDX-License-Identifier: Apache-2.0
// The 256 bytes of a PCI function's configuration space: values, and which bits the guest may write.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"

namespace lockstep::devices {

// Offsets of the header (PCI Local Bus Specification 3.0, 6.1).
inline constexpr unsigned kPciVendor = 0x00, kPciDevice = 0x02, kPciCommand = 0x04, kPciStatus = 0x06,
                          kPciRevision = 0x08, kPciClass = 0x09, kPciBar0 = 0x10, kPciSubsystemVendor = 0x2c,
                          kPciSubsystem = 0x2e, kPciCapabilities = 0x34, kPciInterruptLine = 0x3c,
                          kPciInterruptPin = 0x3d, kPciFirstCapability = 0x40;
inline constexpr uint16_t kPciCommandMemory = 1 << 1, kPciCommandMaster = 1 << 2,
                          kPciCommandNoInterrupt = 1 << 10;

class PciConfigSpace {
  public:
    /// A number of 1, 2 or 4 bytes and its writable bits; sets the power-on value.
    template <typename T>
    void define(unsigned offset, T value, T writable = 0) {
        std::memcpy(&power_on_[offset], &value, sizeof value);
        std::memcpy(&bytes_[offset], &value, sizeof value);
        std::memcpy(&writable_[offset], &writable, sizeof writable);
    }
    /// Appends a capability (its number, then `body`) to the list; returns its offset.
    unsigned add_capability(uint8_t number, ByteSpan body);

    uint32_t read(unsigned offset, unsigned size) const;
    void write(unsigned offset, unsigned size, uint32_t value);
    template <typename T>
    T get(unsigned offset) const {
        T value;
        std::memcpy(&value, &bytes_[offset], sizeof value);
        return value;
    }

    void reset() { bytes_ = power_on_; }
    const std::array<uint8_t, 256>& bytes() const { return bytes_; }
    /// Takes the writable bits of a saved space.
    void load(const std::array<uint8_t, 256>& saved);

  private:
    std::array<uint8_t, 256> power_on_{};
    std::array<uint8_t, 256> bytes_{};
    std::array<uint8_t, 256> writable_{};
    unsigned last_capability_ = 0;
    unsigned next_free_ = kPciFirstCapability;
};

}  // namespace lockstep::devices
