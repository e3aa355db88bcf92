// SPDX-License-Identifier: Apache-2.0
#include "vmm/log_meter.h"

namespace lockstep::vmm {

void RateMeter::set(uint64_t now_ns, uint64_t total) {
    samples_.push_back({now_ns, total});
    while (samples_.size() > 2 && now_ns - samples_[1].at_ns >= kWindowNs) samples_.pop_front();
}

double RateMeter::per_second(uint64_t now_ns) const {
    if (samples_.empty() || now_ns <= samples_.front().at_ns) return 0;
    double seconds = static_cast<double>(now_ns - samples_.front().at_ns) / 1e9;
    return static_cast<double>(samples_.back().total - samples_.front().total) / seconds;
}

}  // namespace lockstep::vmm
