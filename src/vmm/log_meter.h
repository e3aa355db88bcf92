// SPDX-License-Identifier: Apache-2.0
// Figures of a log for people: entries and bytes by kind, and bits per second over the last seconds.
#pragma once

#include <array>
#include <cstdint>
#include <deque>

#include "record/entry.h"

namespace lockstep::vmm {

/// A growing count, and its growth per second over the last kWindowNs.
class RateMeter {
  public:
    void set(uint64_t now_ns, uint64_t total);
    double per_second(uint64_t now_ns) const;

  private:
    static constexpr uint64_t kWindowNs = 5'000'000'000;
    struct Sample {
        uint64_t at_ns;
        uint64_t total;
    };
    std::deque<Sample> samples_;
};

class LogMeter {
  public:
    struct Kind {
        uint64_t entries = 0;
        uint64_t bytes = 0;
    };
    void count(record::EntryKind kind, uint64_t bytes) {
        Kind& one = kinds_[static_cast<size_t>(kind)];
        ++one.entries;
        one.bytes += bytes;
    }
    const Kind& of(record::EntryKind kind) const { return kinds_[static_cast<size_t>(kind)]; }

  private:
    std::array<Kind, 256> kinds_{};
};

}  // namespace lockstep::vmm
