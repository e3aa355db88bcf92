// SPDX-License-Identifier: Apache-2.0
#include "bus/timer_queue.h"

#include <algorithm>

namespace lockstep::bus {

TimerQueue::Id TimerQueue::add(std::function<void()> expired) {
    timers_.push_back({kNeverNs, std::move(expired)});
    return Id{static_cast<uint32_t>(timers_.size() - 1)};
}

void TimerQueue::arm(Id timer, uint64_t deadline_ns) {
    timers_[static_cast<uint32_t>(timer)].deadline_ns = deadline_ns;
    find_next();
}

void TimerQueue::find_next() {
    next_deadline_ns_ = kNeverNs;
    for (const Timer& timer : timers_) next_deadline_ns_ = std::min(next_deadline_ns_, timer.deadline_ns);
    next_event_ = next_deadline_ns_ == kNeverNs ? kNeverIcount : clock_.icount_at(next_deadline_ns_);
}

bool TimerQueue::run_due() {
    bool any = false;
    while (next_deadline_ns_ <= now_ns() && next_deadline_ns_ != kNeverNs) {
        auto due = std::find_if(timers_.begin(), timers_.end(), [this](const Timer& timer) {
            return timer.deadline_ns == next_deadline_ns_;
        });
        due->deadline_ns = kNeverNs;
        find_next();
        due->expired();
        any = true;
    }
    return any;
}

}  // namespace lockstep::bus
