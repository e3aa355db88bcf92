// SPDX-License-Identifier: Apache-2.0
#include "api/event_feed.h"

#include <fmt/format.h>

#include <utility>

#include "host/clock.h"

namespace lockstep::api {

class EventFeed::Listener final : public Session {
  public:
    explicit Listener(EventFeed& feed) : feed_(feed) {}
    ~Listener() override { feed_.remove(this); }

    void start(Outlet& outlet) override {
        outlet_ = &outlet;
        feed_.add(this);
    }
    void receive(ByteSpan) override {}  // he has nothing to say
    void send(std::string_view event) {
        if (outlet_->unsent_bytes() <= kMostUnsentBytes) outlet_->send(event);
    }

  private:
    EventFeed& feed_;
    Outlet* outlet_ = nullptr;
};

namespace {

constexpr const char* kWatched[] = {"role", "state", "protected"};

std::string text_of(const Json& value) {
    if (value.is_string()) return value.get<std::string>();
    return value.is_null() ? "" : value.dump();
}

}  // namespace

Json EventFeed::brief(Json status) {
    for (const char* counters : {"engine", "entries", "output_wait", "state_hashes"}) status.erase(counters);
    return status;
}

std::unique_ptr<Session> EventFeed::listen() { return std::make_unique<Listener>(*this); }

void EventFeed::add(Listener* listener) {
    listeners_[listener] = false;
    // What is known may be of long ago: it begins with a new look.
    if (!looking_) look();
}

void EventFeed::remove(Listener* listener) { listeners_.erase(listener); }

void EventFeed::look() {
    timer_.reset();
    if (listeners_.empty()) {
        states_.clear();
        knows_ = false;
        return;
    }
    looking_ = true;
    vms_.ask_all([this](const std::vector<Json>& states) {
        looking_ = false;
        take(states);
        timer_ = loop_.call_after(kPeriodNs, [this] { look(); });
    });
}

void EventFeed::take(const std::vector<Json>& states) {
    std::map<std::string, Json> before = std::move(states_);
    states_.clear();
    bool knew = std::exchange(knows_, true);
    for (const Json& state : states) {
        std::string name = state["name"].get<std::string>();
        Json status = brief(state);
        states_[name] = status;
        auto known = before.find(name);
        if (known != before.end())
            note_change(name, known->second, status);
        else if (knew)
            note_change(name, Json::object(), status);
        send_all("vm", status);
    }
    for (const auto& [name, status] : before)
        if (!states_.contains(name)) {
            note_change(name, status, {{"role", "gone"}});
            send_all("gone", {{"name", name}});
        }
    for (auto& [listener, has_state] : listeners_) {
        if (has_state) continue;
        has_state = true;
        listener->send(event("state", whole_state()));
    }
}

void EventFeed::note_change(const std::string& vm, const Json& before, const Json& now) {
    for (const char* what : kWatched) {
        std::string from = text_of(before.value(what, Json())), to = text_of(now.value(what, Json()));
        if (from == to || to.empty()) continue;
        Json change = {{"vm", vm}, {"time", host::date_s()},     {"what", what}, {"from", from},
                       {"to", to}, {"why", now.value("why", "")}};
        changes_.push_back(change);
        if (changes_.size() > kKeptChanges) changes_.pop_front();
        send_all("change", change);
    }
}

void EventFeed::send_all(std::string_view kind, const Json& data) {
    std::string text = event(kind, data);
    for (auto& [listener, has_state] : listeners_)
        if (has_state) listener->send(text);
}

std::string EventFeed::event(std::string_view kind, const Json& data) {
    return fmt::format("id: {}\nevent: {}\ndata: {}\n\n", next_id_++, kind,
                       data.dump(-1, ' ', false, Json::error_handler_t::replace));
}

Json EventFeed::whole_state() const {
    Json vms = Json::array(), changes = Json::array();
    for (const auto& [name, status] : states_) vms.push_back(status);
    for (const Json& change : changes_) changes.push_back(change);
    return {{"vms", vms}, {"changes", changes}};
}

}  // namespace lockstep::api
