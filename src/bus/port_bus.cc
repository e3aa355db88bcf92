// SPDX-License-Identifier: Apache-2.0
#include "bus/port_bus.h"

#include "base/check.h"

namespace lockstep::bus {

void PortBus::claim(uint16_t first, uint32_t count, RegisterHandler& handler) {
    CHECK(first + count <= kPorts && ranges_.size() < 256);
    for (uint32_t port = first; port < first + count; ++port) {
        CHECK(owner_[port] == 0, "port {:#x} is claimed twice", port);
        owner_[port] = static_cast<uint8_t>(ranges_.size());
    }
    ranges_.push_back({first, &handler});
}

uint32_t PortBus::read(uint16_t port, unsigned size) {
    const Range& range = ranges_[owner_[port]];
    uint32_t mask = size >= 4 ? ~0u : (1u << 8 * size) - 1;
    if (!range.handler) return mask;
    return static_cast<uint32_t>(range.handler->read_register(port - range.first, size)) & mask;
}

void PortBus::write(uint16_t port, unsigned size, uint32_t value) {
    const Range& range = ranges_[owner_[port]];
    if (range.handler) range.handler->write_register(port - range.first, size, value);
}

}  // namespace lockstep::bus
