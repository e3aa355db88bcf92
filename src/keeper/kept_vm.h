// SPDX-License-Identifier: Apache-2.0
// What a host's daemon does about one VM of its folder: the decisions, without processes, files or clocks.
//
//                  start wanted                     it runs
//     kOff, kFailed -----------> kStarting <-----------------------> kRunning
//                                 |    ^  the time has come            |
//                     it failed,  v    |                               | it failed
//                     once more  kResting <----------------------------+
//                                 |  too often, or not wanted          | switched off    -> kOff
//                                 +---------> kFailed                  | goes on elsewhere -> kElsewhere
//
// A VM that is protected may have gone live on another host when it fails on this one. So the arbiter is looked at before
// every further start, and now and then while it is elsewhere: a lease that changes is of an owner that lives. The start itself looks
// once more (replica/starter.h): a mistake here never makes two owners.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "host/term_lease.h"
#include "vmm/settings.h"

namespace lockstep::keeper {

enum class State : uint8_t {
    kOff,
    kStarting,
    kRunning,
    kResting,    ///< it failed, and is started again in a moment
    kElsewhere,  ///< another host runs it
    kFailed,     ///< it failed, and an operator is to look after it
};
std::string_view name_of(State state);

/// How a VM's process ended, as far as it matters here.
enum class End : uint8_t {
    kPoweredOff,
    kElsewhere,  ///< handed over, or another host has become its owner
    kFailed,     ///< also: it was killed, and said nothing
};
std::string_view name_of(End end);
/// kFailed for a name that is none.
End end_of(std::string_view name);

/// Restarts count that are at most so long ago.
constexpr uint64_t kRestartWindowS = 600;
/// An owner renews its lease every second; one that shows none for so long is gone.
constexpr uint64_t kLeaseSilenceS = 20;

/// All times are dates in seconds, so that they outlive the daemon.
class KeptVm {
  public:
    explicit KeptVm(const vmm::StartSettings& rules) : rules_(rules) {}
    void set_rules(const vmm::StartSettings& rules) { rules_ = rules; }
    const vmm::StartSettings& rules() const { return rules_; }

    // --- Events ---

    /// The first since the host has started.
    void on_host_started(uint64_t now_s);
    /// An operator wants it to run, or to run no more: a power-off that follows ends its restarts.
    void on_start_wanted(uint64_t now_s);
    void on_stop_wanted(uint64_t now_s);
    void on_start_begun(uint64_t now_s) { go(State::kStarting, "", now_s); }
    void on_running(uint64_t now_s);
    void on_ended(End end, const std::string& why, uint64_t now_s);
    /// Another process of this host serves as its backup.
    void on_backup_seen(uint64_t now_s);
    /// What the arbiter shows, where the VM has one.
    void on_looked(const host::TermLook& look, uint64_t now_s);

    // --- What is to be done ---

    /// Whether it is to be started now.
    bool start_is_due(uint64_t now_s) const { return state_ == State::kResting && now_s >= start_s_; }
    /// Whether what the arbiter shows would tell more.
    bool look_is_wanted() const { return state_ == State::kElsewhere || state_ == State::kResting; }

    State state() const { return state_; }
    const std::string& why() const { return why_; }
    size_t restarts() const { return restarts_s_.size(); }

    /// What outlives the daemon, and is shown by `lockstep list`.
    nlohmann::json to_json() const;
    /// Takes what it can; the rest stays as it is.
    void load(const nlohmann::json& json);

  private:
    void go(State state, const std::string& why, uint64_t now_s);
    void start_again(const std::string& why, uint64_t now_s);

    vmm::StartSettings rules_;
    State state_ = State::kOff;
    std::string why_ = "it was never started";
    uint64_t since_s_ = 0;
    uint64_t start_s_ = 0;  ///< kResting: when it is started
    bool stop_wanted_ = false;
    std::vector<uint64_t> restarts_s_;
    std::string lease_;           ///< as it was seen last; empty: not yet
    uint64_t lease_since_s_ = 0;  ///< since when it has been so
};

}  // namespace lockstep::keeper
