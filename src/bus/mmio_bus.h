// SPDX-License-Identifier: Apache-2.0
// Guest-physical addresses that are not RAM: which device answers there.
#pragma once

#include <cstdint>
#include <vector>

#include "base/strong.h"
#include "bus/device.h"

namespace lockstep::bus {

class MmioBus {
  public:
    /// Claims [first, first + size). False, and nothing claimed, where the range overlaps another: the guest
    /// chooses the addresses of PCI devices, so this is no fault of ours.
    bool claim(GuestPhys first, uint64_t size, RegisterHandler& handler);
    /// Gives back every range of the handler.
    void release(const RegisterHandler& handler);

    /// `size` is 1, 2, 4 or 8. What nobody claimed, or only in part, reads as all ones and ignores writes.
    uint64_t read(GuestPhys at, unsigned size);
    void write(GuestPhys at, unsigned size, uint64_t value);

  private:
    struct Range {
        uint64_t first;
        uint64_t size;
        RegisterHandler* handler;
    };
    const Range* find(GuestPhys at, unsigned size);

    std::vector<Range> ranges_;  // sorted by `first`, none overlaps another
    size_t last_hit_ = 0;
};

}  // namespace lockstep::bus
