// SPDX-License-Identifier: Apache-2.0
// Virtual time: what happens when. Events at the same time happen in the order in which they were made.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace lockstep::sim {

/// Microseconds since the start of the simulation.
using Micros = uint64_t;
inline constexpr Micros kMillisecond = 1000;

struct Event {
    Micros at = 0;
    uint64_t order = 0;
    uint64_t process = 0;  ///< whose event it is; 0: the world's
    std::function<void()> run;
};

class EventQueue {
  public:
    void push(Micros at, uint64_t process, std::function<void()> run) {
        heap_.push_back({at, next_order_++, process, std::move(run)});
        std::push_heap(heap_.begin(), heap_.end(), later);
    }
    bool empty() const { return heap_.empty(); }
    Event pop() {
        std::pop_heap(heap_.begin(), heap_.end(), later);
        Event event = std::move(heap_.back());
        heap_.pop_back();
        return event;
    }

  private:
    static bool later(const Event& a, const Event& b) {
        return a.at != b.at ? a.at > b.at : a.order > b.order;
    }

    std::vector<Event> heap_;
    uint64_t next_order_ = 0;
};

}  // namespace lockstep::sim
