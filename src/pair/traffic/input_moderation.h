// SPDX-License-Identifier: Apache-2.0
// When the I/O thread may leave packets for a busy guest lie for a while: what network cards call interrupt
// moderation.
//
// To get up for each packet costs more than the packet: a switch of threads here, an entry of the log, an
// interrupt in the guest. A guest that is busy takes its packets as well by the dozen. So while they come
// thick and fast the I/O thread rests (EventLoop::rest_for()), until the guest sends something or sleeps,
// and kLongestNs at most. A single client, who waits for each answer, never sends so many that this begins.
#pragma once

#include <cstdint>

#include "pair/traffic/bounds.h"

namespace lockstep::pair::traffic {

class InputModeration {
  public:
    /// Packets have come; so many since the start.
    void received(uint64_t total, uint64_t now_ns) {
        uint64_t window_ns = now_ns - window_start_ns_;
        if (window_ns < kWindowNs) return;
        thick_ = (total - window_start_total_) * kWindowNs >= kMany * window_ns;
        window_start_ns_ = now_ns;
        window_start_total_ = total;
    }
    /// How long packets may lie from now on.
    uint64_t rest_ns(uint64_t now_ns) const {
        return thick_ && now_ns < window_start_ns_ + kOverNs ? kLongestNs : 0;
    }

    static constexpr uint64_t kLongestNs = kBounds.rest_ns;
    static constexpr uint64_t kWindowNs = kBounds.rest_window_ns;
    static constexpr uint64_t kMany = kBounds.many_packets;    ///< in such a time
    static constexpr uint64_t kOverNs = kBounds.rest_over_ns;  ///< without packets

  private:
    bool thick_ = false;
    uint64_t window_start_ns_ = 0, window_start_total_ = 0;
};

}  // namespace lockstep::pair::traffic
