// SPDX-License-Identifier: Apache-2.0
// Requests to the host that are answered by a later log entry, and settings that the host keeps for a device.
#pragma once

#include <cstdint>
#include <vector>

#include "bus/device.h"

namespace lockstep::devices::virtio {

/// Numbers every request of the machine, over all devices, in the order in which they are made. Numbers are
/// never reused, not even after a reset of the machine: an answer that comes too late finds no request.
class RequestNumbers {
  public:
    uint64_t next() { return next_++; }
    uint64_t peek() const { return next_; }
    void set(uint64_t next) { next_ = next; }

  private:
    uint64_t next_ = 1;
};

/// A request without its answer, as it left; or a setting, which has no answer and the number 0.
struct UnansweredRequest {
    uint64_t number;
    bus::Output output;
};

/// A device that makes requests, or has settings. A host that takes the guest over is told all of them.
class Requester {
  public:
    virtual ~Requester() = default;
    virtual std::vector<UnansweredRequest> unanswered() const = 0;
};

}  // namespace lockstep::devices::virtio
