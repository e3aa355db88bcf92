// SPDX-License-Identifier: Apache-2.0
// A simulated VM process: the replica's production code, a toy machine, and what the vmm does between them.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "disk/request_queue.h"
#include "replica/replica.h"
#include "sim/event_queue.h"
#include "sim/random.h"
#include "sim/toy_machine.h"

namespace lockstep::sim {

class World;

struct HostClock {
    int64_t rate_ppm = 0;  ///< how much faster it runs than true time
    uint64_t offset_ms = 0;
    uint64_t ms(Micros now) const;
};

class Process {
  public:
    Process(World& world, uint64_t id, unsigned host, replica::Replica replica, const HostClock& clock);

    uint64_t id() const { return id_; }
    /// 0 or 1.
    unsigned host() const { return host_; }
    bool alive() const { return alive_; }
    bool paused() const { return paused_; }
    const replica::Replica& replica() const { return replica_; }
    const ToyMachine& machine() const { return machine_; }
    const std::vector<ToyEntry>& history() const { return history_; }
    LogPos received() const { return received_; }
    /// Entries that a backup has in its memory: an acknowledgement leaves before they are handed on.
    LogPos held_entries() const {
        return replica::is_backup(replica_.state()) ? std::max(received_, replica_.status(0).appended)
                                                    : received_;
    }
    uint64_t channel() const { return channel_; }
    bool idle() const { return held_.empty() && issued_.empty() && inputs_.empty(); }
    /// The host's clock.
    uint64_t local_ms() const;
    bool may_act() const { return replica_.may_release(LogPos(0), local_ms()); }

    /// The process says that its outputs need nobody's acknowledgement.
    bool needs_no_backup() const;

    // --- What the world does to it ---

    /// Starts the guest of a process that begins as the owner.
    void start();
    void start_ticking();
    /// Runs an event, or keeps it for later while the process is stopped.
    void dispatch(std::function<void()> run);
    void pause() { paused_ = true; }
    void resume();
    void die() { alive_ = false; }
    /// Dies (or is stopped) after so many more actions: in the middle of things.
    void die_after(uint64_t actions) { die_after_ = actions; }
    void pause_after(uint64_t actions, Micros time) { pause_after_ = actions, pause_time_ = time; }
    void set_replay_speed(uint64_t permille) { replay_permille_ = permille; }

    void channel_opened(uint64_t channel);
    void channel_closed(uint64_t channel, replica::ChannelEnd end);
    void channel_message(uint64_t channel, const Bytes& bytes);
    void datagram(const Bytes& bytes);
    void arbiter_answer(Term term, replica::ArbiterAnswer answer);
    void renewed(Term term, replica::Renewal answer);
    void request(uint64_t number, uint64_t sector, Operation operation);
    void power_off();
    /// A request that was submitted under this number has ended.
    void disk_done(uint64_t number, uint64_t value);
    void hand_over();
    void set_policy(replica::Policy policy);
    /// A state hash differs (because the simulator says so).
    void diverge();

  private:
    struct Held {
        ToyOutput output;
        LogPos entry;
        Micros since = 0;
    };

    void tick();
    void pump();
    void note_owner();
    void check_waits();
    void carry_out(replica::Action& action);
    void act(replica::SendChannel& action);
    void act(replica::SendDatagram& action);
    void act(replica::CloseChannel&);
    void act(replica::Claim& action);
    void act(replica::RenewTerm& action);
    void act(replica::ReleaseOutputs& action);
    void act(replica::StopVm& action);
    void act(replica::StartVm&);
    void act(replica::SetSpeed& action);
    void act(replica::TakeSnapshot&);
    void act(replica::StoreSnapshot& action);
    void act(replica::LoadSnapshot& action);
    void act(replica::ReplayLog& action);
    void act(replica::BeCareful&) {}
    void act(replica::GoLive& action);
    void act(replica::AskForBackup&);
    void act(replica::Halt& action);
    void act(replica::Say& action);

    // The owner's guest.
    void schedule_slice();
    void slice();
    LogPos append(record::EntryKind kind, std::array<uint64_t, 3> numbers);
    void deliver(ToyEntry entry);
    void take_outputs();
    void let_out(const Held& held);
    enum class LastLook : uint8_t { kTaken, kForgotten };
    void submit(const Held& request);
    void end_round_soon();
    void fill_ring(LastLook look);
    void check_quiesced();

    // The backup's guest.
    void schedule_replay();
    void replay();
    void replay_entry(const ToyEntry& entry);

    World& world_;
    uint64_t id_;
    unsigned host_;
    replica::Replica replica_;
    HostClock clock_;
    ToyMachine machine_;
    std::vector<ToyEntry> history_;  ///< all entries since power-on; for the checkers

    bool alive_ = true;
    bool paused_ = false;
    std::deque<std::function<void()>> inbox_;  ///< what happened while it was stopped
    std::deque<replica::Action> to_do_;
    uint64_t die_after_ = 0, pause_after_ = 0;
    Micros awake_since_ = 0;
    Micros pause_time_ = 0;
    uint64_t channel_ = 0;
    Term noted_term_;
    replica::State owner_state_{};  ///< the last one in which it owned the guest

    bool running_ = false, slicing_ = false, quiescing_ = false, quiet_ = false, ended_ = false;
    uint32_t speed_permille_ = 1000;
    uint64_t slices_ = 0;
    std::deque<ToyEntry> inputs_;
    std::deque<Held> held_;
    std::set<uint64_t> issued_;

    // The way to the disk, as host/ has it: requests wait for overlapping ones, for the end of the loop's
    // round, and for room in the kernel's ring.
    disk::RequestQueue disk_queue_;
    std::map<uint64_t, Held> disk_requests_;  ///< by their numbers in the queue
    uint64_t next_disk_number_ = 1;
    unsigned with_kernel_ = 0;
    bool round_ends_soon_ = false;

    bool loaded_ = false, replaying_ = false;
    Bytes stored_;
    LogPos received_;
    Icount complete_;
    std::deque<ToyEntry> to_replay_;
    std::deque<ToyOutput> dropped_;  ///< made by the replay, not yet seen in the log
    std::deque<Held> recent_;        ///< packets of the replay: those that may not have left go again
    uint64_t replay_permille_ = 1500;
};

}  // namespace lockstep::sim
