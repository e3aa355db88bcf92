// SPDX-License-Identifier: Apache-2.0
// MSI-X (PCI Local Bus Specification 3.0, 6.8.2): the table of messages and the pending bits.
#pragma once

#include <cstdint>
#include <vector>

#include "bus/device.h"

namespace lockstep::devices::virtio {

struct MsixEntry {
    uint64_t address = 0;
    uint32_t data = 0;
    uint32_t control = 1;  ///< bit 0: masked
    template <typename Codec>
    void fields(Codec& codec) {
        codec(address, data, control);
    }
};

struct MsixState {
    std::vector<MsixEntry> table;
    uint64_t pending = 0;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(table, pending);
    }
};

class Msix {
  public:
    /// `vectors`: at most 64.
    Msix(bus::MessageInterrupts& messages, unsigned vectors) : messages_(messages), vectors_(vectors) {
        reset();
    }

    unsigned vectors() const { return vectors_; }
    MsixState& state() { return state_; }
    const MsixState& state() const { return state_; }
    void reset();

    /// The control word of the capability has changed.
    void set_control(bool enabled, bool masked);
    bool enabled() const { return enabled_; }
    /// Sends the message of a vector, or remembers it while it is masked.
    void send(unsigned vector);

    uint64_t read_table(uint64_t offset, unsigned size) const;
    void write_table(uint64_t offset, unsigned size, uint64_t value);
    uint64_t read_pending(uint64_t offset, unsigned size) const;

  private:
    void write_word(uint64_t offset, uint32_t value);
    void send_pending();

    bus::MessageInterrupts& messages_;
    const unsigned vectors_;
    bool enabled_ = false;  // both follow from the capability in configuration space
    bool masked_ = false;
    MsixState state_;
};

}  // namespace lockstep::devices::virtio
