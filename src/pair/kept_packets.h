// SPDX-License-Identifier: Apache-2.0
// Packets for the guest that a dead primary has left (replica::Orphans), until the guest is live here.
#pragma once

#include <cstdint>
#include <deque>
#include <utility>

#include "base/bytes.h"

namespace lockstep::pair {

class KeptPackets {
  public:
    static constexpr size_t kMostBytes = 1 << 20;
    /// Whoever waits for an answer to older ones has sent them again.
    static constexpr uint64_t kStaleNs = 1'000'000'000;

    struct Group {
        uint64_t came_ns;
        uint16_t device;
        Bytes packets;  ///< an encoded NetworkReceive
    };

    /// What doesn't fit is lost, as it would be on a wire.
    void add(Group group) {
        if (bytes_ + group.packets.size() > kMostBytes) return;
        bytes_ += group.packets.size();
        groups_.push_back(std::move(group));
    }
    /// Those that aren't stale; forgets all.
    std::deque<Group> take(uint64_t now_ns) {
        bytes_ = 0;
        std::deque<Group> taken = std::exchange(groups_, {});
        std::erase_if(taken, [&](const Group& group) { return group.came_ns + kStaleNs < now_ns; });
        return taken;
    }

  private:
    std::deque<Group> groups_;
    size_t bytes_ = 0;
};

}  // namespace lockstep::pair
