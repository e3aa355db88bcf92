// SPDX-License-Identifier: Apache-2.0
// The time of a sweep: what happens when, on all hosts. Nothing here waits for a clock, so a run is the same each time.
#pragma once

#include <functional>
#include <set>

#include "sim/event_queue.h"

namespace lockstep::crash_points {

using sim::kMillisecond;
using sim::Micros;

/// Whose an event is. The world's come whoever has died.
using Owner = uint64_t;
inline constexpr Owner kWorld = 0;

class Timeline {
  public:
    Micros now() const { return now_; }
    uint64_t now_ns() const { return kBeginNs + now_ * 1000; }
    void after(Micros pause, Owner owner, std::function<void()> run) {
        queue_.push(now_ + pause, owner, std::move(run));
    }
    void at_ns(uint64_t time_ns, Owner owner, std::function<void()> run) {
        after(time_ns > now_ns() ? (time_ns - now_ns() + 999) / 1000 : 0, owner, std::move(run));
    }
    /// Its events don't come any more.
    void end(Owner owner) { ended_.insert(owner); }

    /// Goes on until `done`, or for `longest`; whether it is done.
    bool run(Micros longest, const std::function<bool()>& done) {
        for (Micros end = now_ + longest; !done();) {
            if (queue_.empty()) return false;
            sim::Event event = queue_.pop();
            now_ = event.at;
            if (now_ > end) {
                queue_.push(event.at, event.process, std::move(event.run));
                return false;
            }
            if (!ended_.contains(event.process)) event.run();
        }
        return true;
    }

  private:
    static constexpr uint64_t kBeginNs = 1'000'000'000'000;

    sim::EventQueue queue_;
    Micros now_ = 0;
    std::set<Owner> ended_;
};

}  // namespace lockstep::crash_points
