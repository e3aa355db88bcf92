// SPDX-License-Identifier: Apache-2.0
// The last packets that a backup's guest has made. When the backup goes live it sends those again that may not
// have left the primary: it may have died before, and the guest would only send them again after a time-out.
#pragma once

#include <deque>
#include <utility>
#include <vector>

#include "base/strong.h"
#include "bus/output.h"

namespace lockstep::pair {

class RecentPackets {
  public:
    static constexpr size_t kMost = 16;

    /// An output whose kOutput entry lies at `position` or before.
    void add(LogPos position, bus::Output packets) {
        packets_.push_back({position, std::move(packets)});
        if (packets_.size() > kMost) packets_.pop_front();
    }
    /// Those that may not have left, where outputs whose entries lie before `left_before` have; forgets all.
    std::vector<bus::Output> take_unsent(LogPos left_before) {
        std::vector<bus::Output> unsent;
        for (Made& made : std::exchange(packets_, {}))
            if (made.position >= left_before) unsent.push_back(std::move(made.output));
        return unsent;
    }

  private:
    struct Made {
        LogPos position;
        bus::Output output;
    };
    std::deque<Made> packets_;
};

}  // namespace lockstep::pair
