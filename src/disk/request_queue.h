// SPDX-License-Identifier: Apache-2.0
// A disk's requests on their way to the host's kernel: in which order they go, and the last look at a write.
//
// Goals: two requests that overlap, at least one of them a write, take effect in the order in which they were
// added, on every host and in every run; requests that don't overlap run at once. A barrier (a flush) starts
// when every write added before it has finished; nothing waits for a barrier. Whatever a write has waited
// for, nothing lies between the question whether this side may still write and its way to the kernel.
//
// Life cycle of a request: add() -> [waits for earlier ones] -> ready -> given out by next() -> finish().
//
// It is host-free: host/disk_image.h and the simulator take their requests from the same code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

namespace lockstep::disk {

enum class Access : uint8_t { kRead, kWrite, kBarrier };

class RequestQueue {
  public:
    using Id = uint64_t;
    using MayWrite = std::function<bool(Id)>;

    /// Adds request `id`, greater than all before, on [start, start + size).
    void add(Id id, Access access, uint64_t start, uint64_t size);
    /// The request that is to be handed to the kernel now, by the caller's next action; empty: none. Where it
    /// would be a write, `may_write` is asked; while that says no, it and the writes behind it stay, and
    /// others pass them.
    std::optional<Id> next(const MayWrite& may_write);
    /// A request that was given out has to go to the kernel once more.
    void again(Id id);
    /// Ends a request that was given out.
    void finish(Id id);
    /// Removes every request that isn't with the kernel; returns them in the order of their adding.
    std::vector<Id> remove_waiting();

    /// Whether next() would give one out, the writes being allowed.
    bool has_ready() const { return !ready_writes_.empty() || !ready_others_.empty(); }
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
        bool with_kernel = false;
    };
    static bool conflicts(const Request& earlier, const Request& later);
    std::set<Id>& ready_beside(const Request& request) {
        return request.access == Access::kWrite ? ready_writes_ : ready_others_;
    }

    std::list<Request> requests_;  // in the order of adding
    std::unordered_map<Id, std::list<Request>::iterator> by_id_;
    std::set<Id> ready_writes_, ready_others_;
};

}  // namespace lockstep::disk
