// SPDX-License-Identifier: Apache-2.0
#include "keeper/kept_vm.h"

#include <algorithm>

#include "base/result.h"

namespace lockstep::keeper {

namespace {

constexpr std::string_view kStateNames[] = {"off", "starting", "running", "resting", "elsewhere", "failed"};
constexpr std::string_view kEndNames[] = {"powered off", "elsewhere", "failed"};
constexpr uint64_t kLongestRestS = 60;

/// 2, 4, 8, ... seconds: long enough for an owner elsewhere to show itself by its lease.
uint64_t rest_s(size_t restarts) {
    return restarts >= 6 ? kLongestRestS : std::min<uint64_t>(kLongestRestS, uint64_t{2} << restarts);
}

}  // namespace

std::string_view name_of(State state) { return kStateNames[static_cast<size_t>(state)]; }
std::string_view name_of(End end) { return kEndNames[static_cast<size_t>(end)]; }

End end_of(std::string_view name) {
    const auto* found = std::ranges::find(kEndNames, name);
    return found == std::end(kEndNames) ? End::kFailed : static_cast<End>(found - std::begin(kEndNames));
}

void KeptVm::go(State state, const std::string& why, uint64_t now_s) {
    if (state != state_) since_s_ = now_s;
    state_ = state;
    why_ = why;
    if (!look_is_wanted()) lease_.clear();
}

void KeptVm::on_host_started(uint64_t now_s) {
    if (rules_.automatic)
        on_start_wanted(now_s);
    else
        go(State::kOff, "autostart is false", now_s);
}

void KeptVm::on_start_wanted(uint64_t now_s) {
    if (state_ == State::kRunning || state_ == State::kStarting) return;
    restarts_s_.clear();
    stop_wanted_ = false;
    start_s_ = now_s;
    go(State::kResting, "its start is wanted", now_s);
}

void KeptVm::on_stop_wanted(uint64_t now_s) {
    stop_wanted_ = true;
    if (state_ == State::kResting) go(State::kOff, "an operator stopped it", now_s);
}

void KeptVm::on_running(uint64_t now_s) {
    if (state_ == State::kRunning) return;
    stop_wanted_ = false;
    go(State::kRunning, "", now_s);
}

void KeptVm::on_backup_seen(uint64_t now_s) {
    if (state_ != State::kElsewhere) go(State::kElsewhere, "its backup is on this host", now_s);
}

void KeptVm::on_ended(End end, const std::string& why, uint64_t now_s) {
    switch (end) {
        case End::kElsewhere:
            return go(State::kElsewhere, why, now_s);
        case End::kPoweredOff:
            if (rules_.restart == vmm::Restart::kAlways && !stop_wanted_) return start_again(why, now_s);
            return go(State::kOff, why, now_s);
        case End::kFailed:
            if (stop_wanted_) return go(State::kOff, why, now_s);
            if (rules_.restart == vmm::Restart::kNever) return go(State::kFailed, why, now_s);
            return start_again(why, now_s);
    }
}

void KeptVm::start_again(const std::string& why, uint64_t now_s) {
    std::erase_if(restarts_s_, [now_s](uint64_t at) { return at + kRestartWindowS < now_s; });
    if (restarts_s_.size() >= rules_.limit)
        return go(State::kFailed,
                  fmt::format("{}; it was started again {} times in {} minutes, which is all that "
                              "restart_limit allows: see to it, then `lockstep start`",
                              why, restarts_s_.size(), kRestartWindowS / 60),
                  now_s);
    start_s_ = now_s + rest_s(restarts_s_.size());
    restarts_s_.push_back(now_s);
    go(State::kResting, why, now_s);
}

void KeptVm::on_looked(const host::TermLook& look, uint64_t now_s) {
    if (!look_is_wanted() || !look.reachable) return;
    if (look.latest == Term(0) || look.free) {
        if (state_ == State::kElsewhere)
            go(State::kOff,
               look.free ? fmt::format("it was switched off on another host ({})", look.owner)
                         : "nobody runs it",
               now_s);
        return;
    }
    std::string lease = fmt::format("{} {}", look.latest.value(), look.lease);
    bool first = lease_.empty(), changed = lease != lease_;
    if (changed) {
        lease_ = lease;
        lease_since_s_ = now_s;
    }
    if (changed && !first)
        return go(State::kElsewhere, fmt::format("it runs on another host ({})", look.owner), now_s);
    if (state_ == State::kElsewhere && !changed && now_s >= lease_since_s_ + kLeaseSilenceS)
        on_ended(End::kFailed,
                 fmt::format("its owner elsewhere ({}) shows no life at the arbiter", look.owner), now_s);
}

nlohmann::json KeptVm::to_json() const {
    return {{"state", name_of(state_)},
            {"why", why_},
            {"since", since_s_},
            {"next_start", state_ == State::kResting ? start_s_ : 0},
            {"restarts", restarts_s_},
            {"stop_wanted", stop_wanted_},
            {"autostart", rules_.automatic},
            {"restart", vmm::name_of(rules_.restart)}};
}

void KeptVm::load(const nlohmann::json& json) {
    if (!json.is_object()) return;
    try {
        const auto* state = std::ranges::find(kStateNames, json.value("state", std::string()));
        if (state == std::end(kStateNames)) return;
        state_ = static_cast<State>(state - std::begin(kStateNames));
        why_ = json.value("why", std::string());
        since_s_ = json.value("since", uint64_t{0});
        start_s_ = json.value("next_start", uint64_t{0});
        stop_wanted_ = json.value("stop_wanted", false);
        restarts_s_ = json.value("restarts", std::vector<uint64_t>());
    } catch (const nlohmann::json::exception&) {
        state_ = State::kOff;
    }
}

}  // namespace lockstep::keeper
