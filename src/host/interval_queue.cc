#include "host/interval_queue.h"

#include "base/check.h"

namespace lockstep::host {

bool IntervalQueue::conflicts(const Request& earlier, const Request& later) {
    if (earlier.access == Access::kBarrier) return false;
    if (later.access == Access::kBarrier) return earlier.access == Access::kWrite;
    if (earlier.access == Access::kRead && later.access == Access::kRead) return false;
    return earlier.start < later.end && later.start < earlier.end;
}

bool IntervalQueue::add(Id id, Access access, uint64_t start, uint64_t size) {
    CHECK(start + size >= start && !by_id_.contains(id));
    Request request{id, access, start, start + size};
    for (const Request& earlier : requests_) request.waits_for += conflicts(earlier, request);
    requests_.push_back(request);
    by_id_[id] = std::prev(requests_.end());
    return request.waits_for == 0;
}

std::vector<IntervalQueue::Id> IntervalQueue::finish(Id id) {
    auto found = by_id_.find(id);
    CHECK(found != by_id_.end() && found->second->waits_for == 0);
    auto ended = found->second;
    std::vector<Id> ready;
    for (auto later = std::next(ended); later != requests_.end(); ++later) {
        if (conflicts(*ended, *later) && --later->waits_for == 0) ready.push_back(later->id);
    }
    requests_.erase(ended);
    by_id_.erase(found);
    return ready;
}

std::vector<IntervalQueue::Id> IntervalQueue::remove_waiting() {
    std::vector<Id> removed;
    for (auto at = requests_.begin(); at != requests_.end();) {
        if (at->waits_for == 0) {
            ++at;
            continue;
        }
        removed.push_back(at->id);
        by_id_.erase(at->id);
        at = requests_.erase(at);
    }
    return removed;
}

}  // namespace lockstep::host
