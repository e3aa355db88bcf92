// SPDX-License-Identifier: Apache-2.0
// A simulated VM process: the production code of a session (pair/session.h) over simulated ports.
//
//     World: network, arbiter, shared disk  <---->  Process: clock, link, arbiter, host
//                                                     Guest: a toy machine on "a thread of its own"
//                                                     Outside: packets, and the way to the disk
//                                                     Session: the same as in a real process
//
// It can be stopped or killed at any event, and between any two actions of its replica.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "pair/session.h"
#include "sim/event_queue.h"
#include "sim/guest.h"
#include "sim/outside.h"

namespace lockstep::sim {

class World;

struct HostClock {
    int64_t rate_ppm = 0;  ///< how much faster it runs than true time
    uint64_t offset_ms = 0;
    uint64_t ns(Micros now) const;
    uint64_t ms(Micros now) const { return ns(now) / pair::kNsPerMs; }
};

class Process : private pair::Clock, private pair::Link, private pair::Arbiter, private pair::Host {
  public:
    /// Its session is to be begun.
    Process(World& world, uint64_t id, unsigned host, pair::Config config, const HostClock& clock);

    uint64_t id() const { return id_; }
    /// 0 or 1.
    unsigned host() const { return host_; }
    bool alive() const { return alive_; }
    bool paused() const { return paused_; }
    pair::Session& session() { return session_; }
    /// It proves that nobody owns the VM, or makes its guest: it has no replica yet.
    bool starts() const { return alive_ && !session_.replica(); }
    const replica::Replica& replica() const { return *session_.replica(); }
    Guest& guest() { return guest_; }
    const ToyMachine& machine() const { return guest_.machine(); }
    const std::vector<ToyEntry>& history() const { return guest_.history(); }
    LogPos received() const { return guest_.received(); }
    /// Entries that a backup has in its memory: an acknowledgement leaves before they are handed on.
    LogPos held_entries() const;
    uint64_t channel() const { return channel_; }
    bool idle() const;
    /// The host's clock.
    uint64_t now_ns() const override;
    bool may_act() const {
        return session_.replica() && session_.replica()->may_release(LogPos(0), now_ms());
    }

    /// The process says that its outputs need nobody's acknowledgement.
    bool needs_no_backup() const;
    /// The session, just gone live, has sent those of its last packets again that it wants to.
    void packets_sent_again() { outside_.packets_sent_again(may_act()); }

    // --- What the world does to it ---

    /// Runs as the owner in `term`, from now on.
    void own(Term term);
    /// Starts as an operator wants it to.
    void start_by_hand();
    void back_up();
    /// Runs an event, or keeps it for later while the process is stopped.
    void dispatch(std::function<void()> run);
    void pause() { paused_ = true; }
    void resume();
    void die() { alive_ = false; }
    /// What a signal of its own lets it say.
    void say_last_words();
    /// What its watcher forwards: requests that it has got and the backup hasn't, each as a datagram.
    void leave_orphans();
    /// Dies (or is stopped) after so many more actions: in the middle of things.
    void die_after(uint64_t actions) { die_after_ = actions; }
    void pause_after(uint64_t actions, Micros time) { pause_after_ = actions, pause_time_ = time; }
    void set_replay_speed(uint64_t permille) { guest_.set_replay_speed(permille); }

    void channel_opened(uint64_t channel);
    void channel_closed(uint64_t channel, replica::ChannelEnd end);
    void channel_message(uint64_t channel, const Bytes& bytes);
    void datagram(const Bytes& bytes) { session_.on_link_datagram(bytes); }
    void request(uint64_t number, uint64_t sector, Operation operation);
    void power_off();
    void reset();
    void disk_done(uint64_t number, uint64_t value) { outside_.disk_done(number, value); }
    void hand_over();
    void set_policy(replica::Policy policy);
    /// A state hash differs (because the simulator says so).
    void diverge();

  private:
    /// The simulation's hooks, and when this process stops.
    class Hooks : public replica::Hooks {
      public:
        Hooks(replica::Hooks& shared, Process& process) : shared_(shared), process_(process) {}
        bool strikes(replica::FaultPoint point) override { return shared_.strikes(point); }
        bool planted(replica::PlantedBug bug) const override { return shared_.planted(bug); }
        bool stops() override { return process_.stops(); }

      private:
        replica::Hooks& shared_;
        Process& process_;
    };

    bool stops();
    void start_ticking();
    void note_owner();
    void check_waits();

    // pair::Clock
    void wake(uint64_t at_ns) override;
    // pair::Link
    bool is_open() const override { return channel_ != 0; }
    void send(const Pieces& message) override;
    void send_datagram(ByteSpan datagram) override;
    size_t queued_bytes() const override { return queued_bytes_; }
    void close() override;
    void close_channel() override { close(); }
    void keep_last_words(const std::optional<Bytes>& words) override { last_words_ = words; }
    // pair::Arbiter
    void look(Term term) override;
    void claim(Term term) override;
    void renew(Term term, const std::optional<replica::HostPair>& hosts) override;
    void set_free(Term term) override;
    // pair::Host
    void ask_for_backup() override;
    void went_live() override;
    void outputs_left() override {}
    void ended(const pair::Ending& ending) override;
    void say(LogLevel level, const std::string& sentence) override;

    World& world_;
    uint64_t id_;
    unsigned host_;
    HostClock clock_;
    replica::Caution caution_;
    Hooks hooks_;
    Guest guest_;
    Outside outside_;
    pair::Session session_;

    bool alive_ = true;
    bool paused_ = false;
    bool by_hand_ = false;                     ///< it was started by hand, and its guest hasn't run yet
    std::deque<std::function<void()>> inbox_;  ///< what happened while it was stopped
    uint64_t die_after_ = 0, pause_after_ = 0;
    Micros pause_time_ = 0;
    uint64_t awake_since_ns_ = 0;
    uint64_t channel_ = 0;
    bool linked_ = false;  ///< the session has not closed its link; the channel may have ended
    size_t queued_bytes_ = 0;
    std::optional<Bytes> last_words_;
    Term noted_term_;
    replica::State owner_state_{};  ///< the last one in which it owned the guest
    size_t held_ = 0;               ///< outputs, before the last action
};

}  // namespace lockstep::sim
