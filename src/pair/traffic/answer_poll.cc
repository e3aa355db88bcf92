// SPDX-License-Identifier: Apache-2.0
#include "pair/traffic/answer_poll.h"

#include <utility>

namespace lockstep::pair::traffic {

void AnswerPoll::asked(uint64_t now_ns) {
    bool unanswered = std::exchange(waits_, true);
    if (unanswered && now_ns - asked_ns_ <= kLongestNs) return;  // several packets ask one question
    if (unanswered) pays_ = false;
    asked_ns_ = now_ns;
}

void AnswerPoll::answered(uint64_t now_ns) {
    if (std::exchange(waits_, false)) pays_ = now_ns - asked_ns_ <= kLongestNs;
}

}  // namespace lockstep::pair::traffic
