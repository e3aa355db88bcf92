// SPDX-License-Identifier: Apache-2.0
// Events: what the VMs of this host do, as a stream that begins with how everything is.
//
//     state    {"vms": [...], "changes": [...]}        first, to each who listens
//     vm       the status of one VM, some times a second
//     gone     {"name": "web"}                         its process here has ended
//     change   {"vm", "time", "what", "from", "to", "why"}   of role, state or protection
//
// Goals: the VMs are asked once for all who listen, and not at all where nobody does; one who is too slow gets no more until he
// has read, and then the newest; one who comes back needs no memory of what he had.
//
// Each event has an id that grows, so that a client can tell what it has.
#pragma once

#include <deque>
#include <map>
#include <string>

#include "api/http.h"
#include "api/vm_access.h"

namespace lockstep::api {

class EventFeed {
  public:
    static constexpr uint64_t kPeriodNs = 500 * host::kNsPerMs;
    static constexpr size_t kKeptChanges = 200;
    /// Of one who listens; a state is left out for him while he has more than this to read.
    static constexpr size_t kMostUnsentBytes = 1 << 20;

    EventFeed(host::EventLoop& loop, VmAccess& vms) : loop_(loop), vms_(vms) {}

    /// A new session of who listens.
    std::unique_ptr<Session> listen();
    size_t listeners() const { return listeners_.size(); }

    /// What is sent of a status: all but the counters of log and engine.
    static Json brief(Json status);

  private:
    class Listener;

    void add(Listener* listener);
    void remove(Listener* listener);
    void look();
    void take(const std::vector<Json>& states);
    void note_change(const std::string& vm, const Json& before, const Json& now);
    void send_all(std::string_view kind, const Json& data);
    std::string event(std::string_view kind, const Json& data);
    Json whole_state() const;

    host::EventLoop& loop_;
    VmAccess& vms_;
    std::map<std::string, Json> states_;
    std::deque<Json> changes_;
    std::map<Listener*, bool> listeners_;  ///< whether it has had its first state
    uint64_t next_id_ = 1;
    bool looking_ = false;
    bool knows_ = false;  ///< states_ are of the last look; else nobody has listened meanwhile
    host::Timer timer_;
};

}  // namespace lockstep::api
