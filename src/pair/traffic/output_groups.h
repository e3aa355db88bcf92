// SPDX-License-Identifier: Apache-2.0
// How long the outputs of a guest that is busy with traffic gather before they are handed over.
//
// A hand-over wakes up a thread here, and with a backup several threads of two hosts, whatever it holds. So
// outputs wait for more, counted from the last hand-over. Where several packets came it pays to wait longer:
// up to kMostTimes as long as the shortest time. Who is the only one to wait for an answer doesn't wait
// longer for that; nor does the guest for its disk.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

#include "pair/traffic/bounds.h"

namespace lockstep::pair::traffic {

class OutputGroups {
  public:
    /// 0: nothing gathers. From any thread; all else is one thread's.
    void set_shortest(uint64_t ns) { shortest_ns_ = ns; }

    /// Packets have been made.
    void add() { ++packets_; }
    void handed_over(uint64_t now_ns) {
        handed_over_ns_ = now_ns;
        last_packets_ = std::exchange(packets_, 0);
    }
    uint64_t handed_over_ns() const { return handed_over_ns_; }

    /// How long after the last hand-over the next one is due.
    uint64_t gathering_ns() const {
        return shortest_ns_ * std::clamp<uint64_t>(last_packets_, 1, kMostTimes);
    }
    bool gathers(uint64_t now_ns) const { return now_ns - handed_over_ns_ < gathering_ns(); }

    static constexpr uint64_t kMostTimes = kBounds.most_groups;

  private:
    std::atomic<uint64_t> shortest_ns_ = 0;
    uint64_t handed_over_ns_ = 0;
    uint64_t packets_ = 0;       ///< since the last hand-over,
    uint64_t last_packets_ = 0;  ///< and with that
};

}  // namespace lockstep::pair::traffic
