// SPDX-License-Identifier: Apache-2.0
#include "host/frame_ring.h"

#include <algorithm>

namespace lockstep::host {

bool FrameRing::is_in_the_way(const Frame& frame) const {
    return frame.at < at_ + kLargest && at_ < frame.at + frame.size;
}

std::span<uint8_t> FrameRing::room() {
    if (at_ + kLargest > kBytes) at_ = 0;
    while (first_ < next_ && (next_ - first_ == kMostFrames || is_in_the_way(frames_[first_ % kMostFrames])))
        ++first_;
    return {bytes_ + at_, kLargest};
}

ByteSpan FrameRing::keep(size_t size) {
    frames_[next_ % kMostFrames] = {.input = inputs_,
                                    .entry = kNoEntry,
                                    .at = static_cast<uint32_t>(at_),
                                    .size = static_cast<uint32_t>(size)};
    ++next_;  // it counts from here on
    ByteSpan frame(bytes_ + at_, size);
    at_ += size;
    return frame;
}

void FrameRing::entered(LogPos entry) {
    uint64_t number = std::max(looked_at_, first_.load());
    for (; number < next_; ++number) {
        Frame& frame = frames_[number % kMostFrames];
        if (frame.input > entered_inputs_) break;
        if (frame.input == entered_inputs_) frame.entry = entry.value();
    }
    looked_at_ = number;
    ++entered_inputs_;
}

}  // namespace lockstep::host
