// SPDX-License-Identifier: Apache-2.0
// How long things have waited: count, mean, longest, and quantiles from a histogram of fixed size.
#pragma once

#include <array>
#include <cstdint>

namespace lockstep::pair {

class WaitMeter {
  public:
    void add(uint64_t ns);

    uint64_t count() const { return count_; }
    uint64_t mean_ns() const { return count_ ? total_ns_ / count_ : 0; }
    uint64_t longest_ns() const { return longest_ns_; }
    /// The time that `permille` of the waits didn't exceed, to within a sixteenth; 0 where there were none.
    uint64_t quantile_ns(unsigned permille) const;

  private:
    // Each power of two is divided into kSteps buckets.
    static constexpr unsigned kStepBits = 4, kSteps = 1 << kStepBits;
    static unsigned bucket_of(uint64_t ns);
    static uint64_t end_of(unsigned bucket);

    std::array<uint64_t, (64 - kStepBits + 1) * kSteps> buckets_{};
    uint64_t count_ = 0, total_ns_ = 0, longest_ns_ = 0;
};

}  // namespace lockstep::pair
