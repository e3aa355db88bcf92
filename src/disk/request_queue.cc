// SPDX-License-Identifier: Apache-2.0
#include "disk/request_queue.h"

#include "base/check.h"

namespace lockstep::disk {

bool RequestQueue::conflicts(const Request& earlier, const Request& later) {
    if (earlier.access == Access::kBarrier) return false;
    if (later.access == Access::kBarrier) return earlier.access == Access::kWrite;
    if (earlier.access == Access::kRead && later.access == Access::kRead) return false;
    return earlier.start < later.end && later.start < earlier.end;
}

void RequestQueue::add(Id id, Access access, uint64_t start, uint64_t size) {
    CHECK(start + size >= start && (requests_.empty() || requests_.back().id < id));
    Request request{id, access, start, start + size};
    for (const Request& earlier : requests_) request.waits_for += conflicts(earlier, request);
    if (request.waits_for == 0) ready_beside(request).insert(id);
    requests_.push_back(request);
    by_id_[id] = std::prev(requests_.end());
}

std::optional<RequestQueue::Id> RequestQueue::next(const MayWrite& may_write) {
    bool write = !ready_writes_.empty() && may_write(*ready_writes_.begin());
    if (write && !ready_others_.empty()) write = *ready_writes_.begin() < *ready_others_.begin();
    std::set<Id>& ready = write ? ready_writes_ : ready_others_;
    if (ready.empty()) return std::nullopt;
    Id id = *ready.begin();
    ready.erase(ready.begin());
    by_id_.at(id)->with_kernel = true;
    return id;
}

void RequestQueue::again(Id id) {
    Request& request = *by_id_.at(id);
    CHECK(request.with_kernel);
    request.with_kernel = false;
    ready_beside(request).insert(id);
}

void RequestQueue::finish(Id id) {
    auto found = by_id_.find(id);
    CHECK(found != by_id_.end() && found->second->with_kernel);
    auto ended = found->second;
    for (auto later = std::next(ended); later != requests_.end(); ++later) {
        if (conflicts(*ended, *later) && --later->waits_for == 0) ready_beside(*later).insert(later->id);
    }
    requests_.erase(ended);
    by_id_.erase(found);
}

std::vector<RequestQueue::Id> RequestQueue::remove_waiting() {
    std::vector<Id> removed;
    for (auto at = requests_.begin(); at != requests_.end();) {
        if (at->with_kernel) {
            ++at;
            continue;
        }
        removed.push_back(at->id);
        by_id_.erase(at->id);
        at = requests_.erase(at);
    }
    ready_writes_.clear();
    ready_others_.clear();
    return removed;
}

}  // namespace lockstep::disk
