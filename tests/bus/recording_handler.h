// SPDX-License-Identifier: Apache-2.0
// A register handler that remembers what was asked of it.
#pragma once

#include <vector>

#include "bus/device.h"

namespace lockstep::bus {

struct Access {
    uint64_t offset;
    unsigned size;
    uint64_t value;
    bool operator==(const Access&) const = default;
};

class RecordingHandler : public RegisterHandler {
  public:
    explicit RecordingHandler(uint64_t answer = 0) : answer_(answer) {}
    uint64_t read_register(uint64_t offset, unsigned size) override {
        reads.push_back({offset, size, answer_});
        return answer_;
    }
    void write_register(uint64_t offset, unsigned size, uint64_t value) override {
        writes.push_back({offset, size, value});
    }

    std::vector<Access> reads, writes;

  private:
    uint64_t answer_;
};

}  // namespace lockstep::bus
