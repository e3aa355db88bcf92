// SPDX-License-Identifier: Apache-2.0
// The life of one side of a protected VM: what the replica decides, carried out on the guest and its host.
//
//       events of the host ---> +---------------------------------------------+ ---> calls on ports (ports.h)
//       (a message, a timer,    | Session                                     |      Guest, Link, Outside,
//       an entry, an answer)    |   Starter   is the VM anybody's?            |      Arbiter, Host, Clock
//                               |   Replica   who may do what                 |
//                               |   OutputGate, RecentPackets: what leaves    |
//                               |   Standstill: the guest stops               |
//                               |   CloneOut: its copy for a new backup       |
//                               +---------------------------------------------+
//
// It has no thread, socket, file or clock of its own. A VM's process (vmm/vm_process.h) joins it to real ones,
// the simulation (sim/process.h) to simulated ones: what the simulation has seen is what a process runs.
//
// Phases
//
//     prove() -> kProving --StartGuest--+       own() without an arbiter, which nobody else can have claimed
//                   | GiveUp            v        v
//                   |                 kMaking <--+          back_up() -> kBackup
//                   |                   | on_made()                         | | GoLive
//                   |                   +---------------> kLive <-----------|-+
//                   |                   | failed            | | Halt: off   | Halt
//                   |                   |                   | v             |
//                   |                   |     Halt: others  | kOff          |
//                   |                   |                   | | on_drained()|
//                   +-------------------+--------> kOver <--+-+-------------+       end(), from everywhere
//
// Which events count in which phase is a table, LOCKSTEP_SESSION_EVENTS: an answer that comes too late is none.
//
// Every event of the replica is followed by act(), which carries out what it wants, in order.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/shared_bytes.h"
#include "pair/cloning.h"
#include "pair/kept_packets.h"
#include "pair/output_gate.h"
#include "pair/phase.h"
#include "pair/ports.h"
#include "pair/recent_packets.h"
#include "pair/standstill.h"
#include "replica/replica.h"
#include "replica/starter.h"

namespace lockstep::pair {

/// Whether a guest is handed over where its networks lead nowhere here, but do on the other side.
enum class LinkLoss : uint8_t { kStay, kHandOver };

struct Config {
    replica::Config replica;
    replica::Caution caution = replica::Caution::kWatch;  ///< of an owner's start
    LinkLoss link_loss = LinkLoss::kStay;
    SharedBytes machine;         ///< owner: the machine's configuration
    uint64_t configured_ns = 0;  ///< owner: when it was made; what has passed since is guest time
    ClonePace clone_pace;
};

class Session {
  public:
    /// `hooks`: of a simulation.
    Session(const Ports& ports, Config config, replica::Hooks* hooks = nullptr);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // --- How it begins: one of these, once ---

    /// An owner whose VM may run elsewhere: proves that nobody owns it, claims its next term, starts the guest.
    void prove();
    /// An owner that has won `term`: starts the guest. `leased_from_ms` as of replica::StartGuest.
    void own(Term term, uint64_t leased_from_ms);
    /// The backup of whoever is at the other end of the link, which on_link_open() is to follow for.
    void back_up();

    // --- Events of the host ---

    /// To be called every period_ms() or so.
    void on_time();
    uint64_t period_ms() const;
    void on_wake();
    void on_link_open();
    void on_link_closed(replica::ChannelEnd end, const std::string& why);
    void on_link_message(ByteSpan message);
    void on_link_datagram(ByteSpan datagram);
    void on_link_drained();
    void on_looked(const replica::TermView& view);
    /// `detail`: of a lost claim the winner, of an unanswered one why.
    void on_claimed(Term term, replica::ArbiterAnswer answer, const std::string& detail);
    void on_renewed(Term term, replica::Renewal answer, const std::string& detail);
    void on_drained();
    /// So many of the guest's networks lead nowhere on this host; now and then.
    void on_links(uint8_t lost);

    // --- Events of the guest ---

    void on_made(const Result<void>& made);
    void on_entry(LogPos position, const record::Entry& entry);
    /// Its kOutput entry, `position`, has come before.
    void on_output(LogPos position, uint64_t made_ns, bus::Output output);
    void on_progress(Icount icount);
    /// What the guest made at a time has been told.
    void on_batch_end(replica::Flush flush);
    void on_guest_off();
    void on_unanswered(const std::vector<bus::Output>& requests);
    void on_paused(uint64_t number, Icount icount);
    void on_settled(uint64_t number);
    void on_round(uint64_t number);
    void on_cut(uint64_t number, Icount icount, Bytes state);
    void on_care_over();
    void on_loaded(const Result<void>& loaded);
    void on_replayed(LogPos position, Icount icount);
    /// Its kOutput entry lies at `position` or before.
    void on_replayed_output(LogPos position, bus::Output output);
    void on_divergence(const std::string& sentence, LogPos position, Icount icount, uint8_t parts);

    // --- The operator: once there is a replica ---

    Result<void> protect();
    Result<void> unprotect();
    Result<void> hand_over();
    /// Ends the session here and now, without a word to the other side.
    void end(Ending::Kind kind, const std::string& sentence);

    // --- What others ask ---

    /// The last look: whether a disk's write whose kOutput entry is `entry` may be made at this very moment.
    bool may_write(LogPos entry) const;
    Phase phase() const { return phase_; }
    bool is_live() const { return phase_ == Phase::kLive; }
    /// Where the replica is; null: there is none yet.
    const replica::Replica* replica() const { return replica_ ? &*replica_ : nullptr; }
    const CloneOut& clone_out() const { return clone_out_; }
    /// Bytes of a copy's pages that have come here.
    uint64_t loaded_bytes() const { return loaded_bytes_; }
    const OutputGate* gate() const { return gate_ ? &*gate_ : nullptr; }
    void set_round_trip(uint64_t ns);
    /// The configuration of the machine here, or that is coming here.
    const SharedBytes& machine() const { return config_.machine; }
    /// The guest has come so far.
    Icount complete() const { return complete_; }
    bool is_careful() const { return careful_; }
    /// When the guest went live here, of the clock; empty: it didn't.
    std::optional<uint64_t> live_since_ns() const { return live_since_ns_; }

    /// A simulated process goes on, which was stopped between two actions (replica::Hooks::stops()).
    void go_on() { act(); }

  private:
    using Action = replica::Action;
    bool heeds(Event event) const { return pair::heeds(phase_, event); }
    uint64_t now_ms() const { return ports_.clock.now_ms(); }
    template <typename... Args>
    void say(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
        ports_.host.say(level, fmt::format(format, std::forward<Args>(args)...));
    }

    // session.cc
    void act_start();
    void go();
    void make_replica(replica::Replica replica);
    void send_clone();
    void send_clone_again(uint64_t at_ns);
    void pace_clone(size_t bytes, uint64_t began_ns);
    void close_link();
    void keep_last_words();
    void wake_when_due();
    void go_on_off();

    // session_actions.cc: what starter and replica want
    void act();
    void carry_out_start(const replica::LookAtTerm& action);
    void carry_out_start(const replica::Claim& action);
    void carry_out_start(const replica::RenewTerm& action);
    void carry_out_start(const replica::StartGuest& action);
    void carry_out_start(const replica::GiveUp& action);
    void carry_out_start(const replica::Say& action);
    void carry_out(replica::SendChannel& action);
    void carry_out(replica::SendDatagram& action);
    void carry_out(replica::CloseChannel& action);
    void carry_out(replica::Claim& action);
    void carry_out(replica::RenewTerm& action);
    void carry_out(replica::ReleaseOutputs& action);
    void carry_out(replica::StopVm& action);
    void carry_out(replica::StartVm& action);
    void carry_out(replica::SetSpeed& action);
    void carry_out(replica::StartClone& action);
    void carry_out(replica::SendPages& action);
    void carry_out(replica::MakeMachine& action);
    void carry_out(replica::LoadPages& action);
    void carry_out(replica::LoadState& action);
    void carry_out(replica::ReplayLog& action);
    void carry_out(replica::BeCareful& action);
    void carry_out(replica::GoLive& action);
    void carry_out(replica::LetIn& action);
    void carry_out(replica::AskForBackup& action);
    void carry_out(replica::Halt& action);
    void carry_out(replica::Say& action);

    Ports ports_;
    Config config_;
    replica::Hooks* hooks_;
    Phase phase_ = Phase::kNew;
    std::optional<replica::Starter> starter_;
    std::optional<replica::Replica> replica_;
    std::optional<OutputGate> gate_;
    Standstill standstill_;
    CloneOut clone_out_;
    uint64_t loaded_bytes_ = 0;
    RecentPackets recent_packets_;
    KeptPackets kept_packets_;

    std::deque<Action> to_do_;
    bool acting_ = false;
    std::optional<uint64_t> wake_ns_;   ///< of the clock: when on_wake() comes
    std::optional<uint64_t> clone_ns_;  ///< of the clock: when send_clone() is to go on by itself
    uint64_t paced_ns_ = 0;             ///< of the clock: no piece of the copy leaves before
    uint64_t clone_began_ns_ = 0;
    bool log_wanted_ = false;  ///< as the guest was told
    bool careful_ = false;
    Term won_;  ///< by this process's start
    uint64_t leased_from_ms_ = 0;
    Icount complete_;
    std::string last_sentence_;  ///< of a guest that is off
    std::optional<std::pair<replica::State, Term>> words_are_for_;
    uint64_t last_message_ns_ = 0;  ///< when something last came on the link
    std::optional<uint64_t> live_since_ns_;
    uint64_t links_lost_ns_ = 0;  ///< since when, or since it was handed over in vain; 0: they aren't
};

}  // namespace lockstep::pair
