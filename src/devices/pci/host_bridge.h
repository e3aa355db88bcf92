// SPDX-License-Identifier: Apache-2.0
// The PCI host bridge: device 0, a header and nothing behind it.
#pragma once

#include "bus/pci_bus.h"
#include "devices/pci/config_space.h"

namespace lockstep::devices {

class HostBridge : public bus::PciFunction {
  public:
    HostBridge() {
        config_.define<uint16_t>(kPciVendor, 0x1b36);
        config_.define<uint16_t>(kPciDevice, 0x0008);
        config_.define<uint8_t>(kPciClass + 2, 0x06);  // bridge; subclass 0: host
    }
    uint32_t read_config(unsigned offset, unsigned size) override { return config_.read(offset, size); }
    void write_config(unsigned, unsigned, uint32_t) override {}

  private:
    PciConfigSpace config_;
};

}  // namespace lockstep::devices
