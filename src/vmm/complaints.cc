// SPDX-License-Identifier: Apache-2.0
#include "vmm/complaints.h"

#include <algorithm>

namespace lockstep::vmm {

std::optional<std::string> Complaints::hear(const std::string& sentence, uint64_t now_ns) {
    while (!said_.empty() && now_ns - said_.front().at_ns >= kPauseNs) said_.pop_front();
    if (said_.size() > kMost || std::ranges::find(said_, sentence, &Said::sentence) != said_.end())
        return std::nullopt;
    said_.push_back({sentence, now_ns});
    if (said_.size() <= kMost) return sentence;
    return "more is said against those who connect than fits here; the rest is left out for some minutes";
}

}  // namespace lockstep::vmm
