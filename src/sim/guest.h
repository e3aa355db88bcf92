// SPDX-License-Identifier: Apache-2.0
// The guest of a simulated process: a toy machine, run and replayed as the vCPU's thread does with a real one.
//
// What the session asks for is done in order, each a moment later (post()); between two such works the guest
// runs on, in slices. So what it makes comes to the session between what the session wants of it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "pair/ports.h"
#include "sim/event_queue.h"
#include "sim/toy_clone.h"
#include "sim/toy_machine.h"

namespace lockstep::sim {

class Process;
class World;

class Guest : public pair::Guest {
  public:
    Guest(World& world, Process& process) : world_(world), process_(process) {}

    // --- What the host brings ---

    /// A packet, the power button, or what a disk has done.
    void add_input(const ToyEntry& input);
    void set_replay_speed(uint64_t permille) { replay_permille_ = permille; }

    const ToyMachine& machine() const { return machine_; }
    /// All entries since power-on; for the checkers.
    const std::vector<ToyEntry>& history() const { return history_; }
    /// Entries that this guest has got from a primary, with those before its copy.
    LogPos received() const { return received_; }
    bool has_inputs() const { return !inputs_.empty(); }
    /// Requests that are in an entry from there on, or in none.
    std::vector<ToyEntry> requests_from(LogPos entry) const;

    // --- pair::Guest ---

    void make(SharedBytes configuration, pair::MadeFor purpose) override;
    void start_replay(LogPos position) override;
    void replay(std::vector<record::Entry> entries, Icount complete) override;
    void go_live(LogPos position, uint64_t behind_ns) override;
    void pause(uint64_t number) override;
    void settle(uint64_t number) override;
    void resume() override;
    void set_speed(uint32_t permille) override;
    void start_clone(uint64_t number) override;
    pair::Taken take_pages(Bytes& out, size_t bytes) override;
    void next_round(uint64_t number) override;
    void cut(uint64_t number) override;
    void end_clone() override;
    Result<void> load_pages(ByteSpan records) override;
    void load_state(Bytes state) override;
    void be_careful() override;
    void want_log(bool) override {}

  private:
    enum class Mode : uint8_t { kIdle, kReplaying, kLive, kOff };
    struct Work {
        Micros takes;
        std::function<void()> run;
    };
    void post(std::function<void()> work, Micros longest = 2 * kMillisecond);
    void schedule_work();

    // An owner's.
    void schedule_slice();
    void slice();
    void hand_over_batch(bool outputs_made);
    LogPos append(record::EntryKind kind, std::array<uint64_t, 3> numbers);
    void deliver(ToyEntry entry);
    void deliver_completions();
    void take_outputs();
    void report_cut(uint64_t number);

    // A backup's.
    void schedule_replay();
    void replay_some();
    void replay_entry(const ToyEntry& entry);

    World& world_;
    Process& process_;
    ToyMachine machine_;
    Mode mode_ = Mode::kIdle;
    std::vector<ToyEntry> history_;
    std::deque<Work> work_;
    bool works_ = false;

    bool paused_ = false, slicing_ = false, careful_ = false;
    bool outputs_made_ = false;  ///< since the last batch
    uint32_t speed_permille_ = 1000;
    uint64_t slices_ = 0;
    std::deque<ToyEntry> inputs_;
    std::optional<ToyClone> clone_;

    bool replaying_ = false;
    uint64_t copy_of_ = 0;  ///< the process that the state came from
    LogPos received_;
    uint64_t given_ = 0;  ///< entries to replay, before start_replay()
    Icount complete_;
    std::deque<ToyEntry> to_replay_;
    std::deque<ToyOutput> made_;  ///< by the replay, not yet seen in the log
    uint64_t replay_permille_ = 1500;
};

}  // namespace lockstep::sim
