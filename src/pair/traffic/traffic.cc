// SPDX-License-Identifier: Apache-2.0
#include "pair/traffic/traffic.h"

namespace lockstep::pair::traffic {

void Traffic::packet_came(uint64_t total, const Sleeper& guest, uint64_t now_ns) {
    // A guest that has slept probably has an answer.
    bool expects = low_latency_ == LowLatency::kYes && guest.elsewhere && guest.slept_long;
    if (expects) answer_poll_.asked(now_ns);
    input_moderation_.received(total, now_ns);
}

bool Traffic::polls(uint64_t held_outputs, bool guest_awake, uint64_t now_ns) const {
    if (!answer_poll_.waits(now_ns)) return false;
    return held_outputs > 0 || guest_awake || !answer_poll_.expects_work(now_ns);
}

uint64_t Traffic::rest_ns(bool guest_awake, size_t disk_requests, uint64_t now_ns) const {
    if (!guest_awake || disk_requests > 0) return 0;
    return input_moderation_.rest_ns(now_ns);
}

}  // namespace lockstep::pair::traffic
