// SPDX-License-Identifier: Apache-2.0
// The API's answers: a table of routes, each with who may ask.
//
// A path that changes anything takes requests of its own pages alone: a foreign page can make a browser send its owner's
// certificate, but neither JSON nor the name of this host as its origin.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "api/caller.h"
#include "api/connection.h"
#include "api/event_feed.h"
#include "api/vm_access.h"
#include "control/actions.h"

namespace lockstep::api {

/// What the host says of itself.
struct HostFacts {
    std::string name;
    std::string certificate_until;
    uint64_t certificate_until_s = 0;
    bool insecure = false;
};

class Answers;

/// A request whose route is known. The request and who asks live only until the handler returns.
struct Call {
    const Request& request;
    const Caller& caller;
    std::map<std::string, std::string, std::less<>> parameters;  ///< of the path: "vm", "action"
    Connection::Reply reply;
};

/// What a route answers, for the API's document.
enum class Answer : uint8_t { kObject, kList, kText, kEvents, kWebSocket };

struct Route {
    std::string_view method;
    std::string_view pattern;  ///< as in "/v1/vms/{vm}"
    std::string_view meaning;
    host::Role role;
    Answer answer;
    std::span<const control::Field> fields;  ///< of the object, or of each in the list
    std::string_view list;                   ///< the name of the list in the object
    void (Answers::*handle)(Call call);
};

class Answers {
  public:
    /// How many may listen to events, or sit at consoles.
    static constexpr size_t kMostListeners = 100;

    Answers(host::EventLoop& loop, VmAccess& vms, EventFeed& events, std::function<HostFacts()> host)
        : loop_(loop), vms_(vms), events_(events), host_(std::move(host)) {}

    static std::span<const Route> routes();
    void answer(const Request& request, const Caller& caller, Connection::Reply reply);

  private:
    void answer_caller(Call call);
    void answer_vms(Call call);
    void answer_vm(Call call);
    void answer_actions(Call call);
    void carry_out(Call call);
    void open_console(Call call);
    void answer_hosts(Call call);
    void answer_tasks(Call call);
    void answer_events(Call call);
    void answer_document(Call call);
    void answer_metrics(Call call);
    void connect_console(const std::string& place, const std::string& key, const Connection::Reply& reply);
    bool find_vm(const Call& call);

    host::EventLoop& loop_;
    VmAccess& vms_;
    EventFeed& events_;
    std::function<HostFacts()> host_;
};

}  // namespace lockstep::api
