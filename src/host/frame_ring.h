// SPDX-License-Identifier: Apache-2.0
// The frames that a network has brought of late, each kept until the backup has it in its log.
//
// Frames are read straight to where they stay, so that keeping them costs nothing. A ring may lie in memory that
// others share (host/orphan_frames.h), who find it whole at whatever instruction its writer dies.
//
//     room(), keep() ...        frames as they come in
//     end_input()               those since the last call are one input of the guest
//     entered(entry)            the oldest input without an entry has this one
//     for_each_from(entry)      what lies in that entry, in a later one, or in none
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/strong.h"

namespace lockstep::host {

class FrameRing {
  public:
    static constexpr size_t kLargest = 12 + 65550;  ///< a frame with its virtio header
    static constexpr size_t kBytes = 512 << 10;
    static constexpr size_t kMostFrames = 1024;

    /// Where the next frame is to be read to, kLargest bytes. The oldest frames make way.
    std::span<uint8_t> room();
    /// A frame of so many bytes has been read there; it lives until its room is given away.
    ByteSpan keep(size_t size);
    void end_input() { ++inputs_; }
    /// What is kept so far is not for the guest.
    void forget() { first_.store(next_.load()); }
    void entered(LogPos entry);

    /// function(ByteSpan frame), the oldest first.
    template <typename Function>
    void for_each_from(LogPos entry, const Function& function) const {
        for (uint64_t number = first_; number < next_; ++number) {
            const Frame& frame = frames_[number % kMostFrames];
            if (frame.entry >= entry.value()) function(ByteSpan(bytes_ + frame.at, frame.size));
        }
    }

  private:
    static constexpr uint64_t kNoEntry = ~uint64_t{0};
    struct Frame {
        uint64_t input = 0;
        uint64_t entry = kNoEntry;
        uint32_t at = 0, size = 0;
    };
    bool is_in_the_way(const Frame& frame) const;

    std::atomic<uint64_t> first_ = 0, next_ = 0;  ///< running numbers of what is kept
    uint64_t inputs_ = 0;                         ///< that have ended
    uint64_t entered_inputs_ = 0;                 ///< that have an entry
    uint64_t looked_at_ = 0;                      ///< frames before have an entry, or are none of an input's
    size_t at_ = 0;                               ///< where room() is
    Frame frames_[kMostFrames];
    uint8_t bytes_[kBytes];
};

}  // namespace lockstep::host
