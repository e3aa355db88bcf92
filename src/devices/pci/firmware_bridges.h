// SPDX-License-Identifier: Apache-2.0
// What firmware expects of a PC's chipset, as far as it looks: it is Intel's 440FX with a PIIX.
//
//     device 0               the host bridge's identity
//     device 1, function 3   power management: where the PM timer is
//     device 31              the bridge to the serial port
//
// Their registers can't be written: everything is where it stays.
#pragma once

#include "bus/pci_bus.h"
#include "devices/pci/config_space.h"
#include "devices/power/power.h"

namespace lockstep::devices {

class FixedFunction : public bus::PciFunction {
  public:
    FixedFunction(uint16_t device, uint16_t pci_class) {
        config_.define<uint16_t>(kPciVendor, 0x8086);
        config_.define<uint16_t>(kPciDevice, device);
        config_.define<uint16_t>(kPciClass + 1, pci_class);
    }
    uint32_t read_config(unsigned offset, unsigned size) override { return config_.read(offset, size); }
    void write_config(unsigned, unsigned, uint32_t) override {}

  protected:
    PciConfigSpace config_;
};

class FirmwareHostBridge final : public FixedFunction {
  public:
    FirmwareHostBridge() : FixedFunction(0x1237, 0x0600) {}
};

class FirmwareIsaBridge final : public FixedFunction {
  public:
    FirmwareIsaBridge() : FixedFunction(0x7000, 0x0601) {}
};

class FirmwarePowerFunction final : public FixedFunction {
  public:
    FirmwarePowerFunction() : FixedFunction(0x7113, 0x0680) {
        config_.define<uint32_t>(0x40, kPowerPort | 1);
        config_.define<uint8_t>(0x80, 1);  // its ports answer
    }
};

}  // namespace lockstep::devices
