// SPDX-License-Identifier: Apache-2.0
// The 64 Ki I/O ports of the machine.
#pragma once

#include <cstdint>
#include <vector>

#include "bus/device.h"

namespace lockstep::bus {

class PortBus {
  public:
    PortBus() : owner_(kPorts, 0), ranges_(1) {}

    /// Claims `count` ports from `first`, none of which may be taken.
    void claim(uint16_t first, uint32_t count, RegisterHandler& handler);

    /// `size` is 1, 2 or 4. The claim of the first port answers; ports that nobody claimed read as all ones.
    uint32_t read(uint16_t port, unsigned size);
    void write(uint16_t port, unsigned size, uint32_t value);

  private:
    static constexpr uint32_t kPorts = 0x10000;
    struct Range {
        uint16_t first = 0;
        RegisterHandler* handler = nullptr;
    };
    std::vector<uint8_t> owner_;  // per port: an index of ranges_; 0 is nobody
    std::vector<Range> ranges_;
};

}  // namespace lockstep::bus
