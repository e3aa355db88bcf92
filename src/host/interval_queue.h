// The order of disk requests that touch the same bytes.
//
// Goals: two requests that overlap, at least one of them a write, take effect in the order in which they were
// added, on every host and in every run; requests that don't overlap run at once. A barrier (a flush) starts
// when every write added before it has finished; nothing waits for a barrier.
//
// Life cycle of a request: add() -> [waits for earlier ones] -> returned as ready -> finish().
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <unordered_map>
#include <vector>

namespace lockstep::host {

enum class Access : uint8_t { kRead, kWrite, kBarrier };

class IntervalQueue {
  public:
    using Id = uint64_t;

    /// Adds request `id` (never used before) on [start, start + size). True: it may run now.
    bool add(Id id, Access access, uint64_t start, uint64_t size);
    /// Ends a request that was running; returns those that may run now, in the order of their adding.
    std::vector<Id> finish(Id id);
    /// Removes every request that hasn't been allowed to run; returns them in the order of their adding.
    std::vector<Id> remove_waiting();

    /// Requests added and not finished.
    size_t size() const { return requests_.size(); }
    bool empty() const { return requests_.empty(); }

  private:
    struct Request {
        Id id;
        Access access;
        uint64_t start;
        uint64_t end;
        unsigned waits_for = 0;
    };
    static bool conflicts(const Request& earlier, const Request& later);

    std::list<Request> requests_;  // in the order of adding
    std::unordered_map<Id, std::list<Request>::iterator> by_id_;
};

}  // namespace lockstep::host
