// SPDX-License-Identifier: Apache-2.0
#include "replica/lag_control.h"

#include <algorithm>

namespace lockstep::replica {

LagControl::LagControl(const Timing& timing, uint64_t buffer_bytes, LogPos position, Icount icount)
    : timing_(timing),
      buffer_bytes_(buffer_bytes),
      received_(position),
      replayed_(position),
      replayed_icount_(icount) {
    last_.position = position;
    last_.icount = icount;
}

void LagControl::sent(uint64_t now_ms, LogPos position, Icount icount, uint64_t bytes) {
    last_ = {position, icount, now_ms, last_.total_bytes + bytes};
    marks_.push_back(last_);
}

void LagControl::acknowledged(uint64_t now_ms, LogPos received, LogPos replayed, Icount icount) {
    received_ = std::max(received_, received);
    replayed_ = std::max(replayed_, replayed);
    replayed_icount_ = std::max(replayed_icount_, icount);
    while (!marks_.empty() && marks_.front().position <= replayed && marks_.front().icount <= icount) {
        executed_bytes_ = marks_.front().total_bytes;
        marks_.pop_front();
    }
    lag_ms_ = marks_.empty() || marks_.front().sent_ms >= now_ms ? 0 : now_ms - marks_.front().sent_ms;
}

std::optional<uint64_t> LagControl::unacknowledged_since() const {
    if (last_.position <= received_) return std::nullopt;
    auto first = std::partition_point(marks_.begin(), marks_.end(),
                                      [this](const Mark& m) { return m.position <= received_; });
    if (first == marks_.end()) return std::nullopt;
    return first->sent_ms;
}

uint32_t LagControl::wanted_speed(uint64_t lag) const {
    if (lag <= timing_.lag_slow_ms) return kFullSpeed;
    if (lag >= timing_.lag_most_ms) return kLeastSpeed;
    uint64_t span = timing_.lag_most_ms - timing_.lag_slow_ms;
    uint64_t slower = (kFullSpeed - kLeastSpeed) * (lag - timing_.lag_slow_ms) / span;
    return kFullSpeed - static_cast<uint32_t>(slower) / kStep * kStep;
}

void LagControl::update_fill() {
    uint64_t filled = buffered_bytes();
    if (filled > buffer_bytes_) full_ = true;
    if (filled <= buffer_bytes_ / 2) full_ = false;
}

void LagControl::update(uint64_t now_ms) {
    update_fill();
    if (now_ms - stepped_ms_ < kStepMs) return;
    stepped_ms_ = now_ms;
    uint32_t wanted = wanted_speed(lag_ms_);
    if (wanted < speed_) speed_ -= kStep;
    if (wanted > speed_) speed_ += kStep;
}

}  // namespace lockstep::replica
