// SPDX-License-Identifier: Apache-2.0
#include "pair/wait_meter.h"

#include <algorithm>
#include <bit>

namespace lockstep::pair {

unsigned WaitMeter::bucket_of(uint64_t ns) {
    if (ns < kSteps) return static_cast<unsigned>(ns);
    unsigned shift = static_cast<unsigned>(std::bit_width(ns)) - 1 - kStepBits;
    return (shift + 1) * kSteps + static_cast<unsigned>(ns >> shift) - kSteps;
}

/// The greatest time that falls into the bucket.
uint64_t WaitMeter::end_of(unsigned bucket) {
    if (bucket < kSteps) return bucket;
    unsigned shift = bucket / kSteps - 1;
    return ((uint64_t{kSteps} + bucket % kSteps + 1) << shift) - 1;
}

void WaitMeter::add(uint64_t ns) {
    ++buckets_[bucket_of(ns)];
    ++count_;
    total_ns_ += ns;
    longest_ns_ = std::max(longest_ns_, ns);
}

uint64_t WaitMeter::quantile_ns(unsigned permille) const {
    uint64_t wanted = std::max<uint64_t>((count_ * permille + 999) / 1000, 1), seen = 0;
    for (unsigned bucket = 0; bucket < buckets_.size(); ++bucket) {
        seen += buckets_[bucket];
        if (seen >= wanted) return std::min(end_of(bucket), longest_ns_);
    }
    return 0;
}

}  // namespace lockstep::pair
