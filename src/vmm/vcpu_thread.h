// SPDX-License-Identifier: Apache-2.0
// The vCPU thread: the one thread that touches the machine, but for pages of a copy: those of a live guest are taken
// by the I/O thread (memory/clone.h), and until load_state() it puts those of another into a machine that doesn't run.
//
// The I/O thread hands it work (inputs, log to replay, questions) and is told of what it makes through a list
// that it takes over as a whole. Work is done between two instructions; a running machine is asked to stop.
//
//                                 load()                 replay()
//     [start] --> kIdle --create()--> kIdle -----------> kReplaying
//                   |                                        |
//                   |  go_live()                             | go_live()
//                   +------------------> kLive <-------------+
//                                         |  pause(): the guest stands still, completions are still delivered
//                                         v
//                                       kOff (the guest is off, or the replay differed)
//
// Every public function may be called from the I/O thread; none of them waits, but for the destructor.
//
// A wake-up costs more than most of what is handed over, so the I/O thread is woken up only (the times are in
// pair/traffic/bounds.h)
//   - at once, for what somebody waits for: outputs, answers, the end, the first input after a long sleep;
//     but outputs may gather for a while where the guest is busy with traffic (group_outputs());
//   - for entries of the log that somebody wants (want_entries()): when the guest halts or was stopped, or
//     entries_ns after the last hand-over; but those of a guest at rest, which come of its timers alone, lie for
//     resting_ns, and the I/O thread finds them before, when it sends its heartbeat;
//   - after progress_ns, for the icount alone, if entries are wanted;
//   - every replayed_ns, for the position of a replay.
// What is left is found at its next look.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <variant>
#include <vector>

#include "base/flight_recorder.h"
#include "bus/device.h"
#include "drive/live_driver.h"
#include "drive/replayer.h"
#include "memory/clone.h"
#include "memory/page_loader.h"
#include "pair/ports.h"
#include "pair/traffic/output_groups.h"
#include "record/entry.h"
#include "vmm/idle_memory.h"
#include "vmm/machine_factory.h"

namespace lockstep::vmm {

struct EntryMade {
    LogPos position;
    std::shared_ptr<const record::Entry> entry;
};
/// Of a live guest: behind the output's kOutput entry. Of a replay: that entry lies at `position` or before.
struct OutputMade {
    LogPos position;
    bus::Output output;
    bool live;
    uint64_t made_ns;  ///< of the host's clock
};
struct ProgressMade {
    Icount icount;
};
struct Replayed {
    LogPos position;
    Icount icount;
    uint64_t checkpoints;  ///< hashes compared so far
};
struct GuestOff {};
/// Work for the I/O thread, in its place among the rest.
struct Report {
    std::function<void()> run;
};
using Produced =
    std::variant<EntryMade, OutputMade, ProgressMade, Replayed, drive::Divergence, GuestOff, Report>;

/// What the vCPU thread hands over at a time.
struct Batch {
    std::vector<Produced> produced;
    bool send_log = false;  ///< an output waits for a backup to have the entries, or is about to
};

/// Whether the entries of a live guest are worth a wake-up of their own.
enum class EntriesWanted : uint8_t {
    kNo,
    kSoon,    ///< within entries_ns
    kAtHalt,  ///< as soon as the guest has nothing to do
};

/// A piece of log for a backup.
struct ReplayChunk {
    std::vector<record::Entry> entries;
    Icount complete;
};

class VcpuThread : private bus::OutputSink, private drive::LiveListener {
  public:
    /// What is called on the vCPU thread.
    struct Hooks {
        std::function<void()> notify;  ///< once between two calls of take(), when that has something to give
        std::function<void()> sleeps;  ///< there is nothing to do: is_awake() says so from now on; optional
    };
    VcpuThread(MachineFactory& factory, Hooks hooks);
    ~VcpuThread() override;
    VcpuThread(const VcpuThread&) = delete;
    VcpuThread& operator=(const VcpuThread&) = delete;

    /// Makes the machine. `done` is reported.
    /// `from`: the snapshot whose state it goes on from; empty: power-on.
    void create(SharedBytes configuration, const translate::EngineOptions& options, pair::MadeFor purpose,
                std::function<void(Result<void>)> done, const std::string& from = {});
    /// For a copy, once create() is done: puts pages where they belong, on the caller's thread.
    Result<void> load_pages(ByteSpan records);
    /// After them, what cut() gave: `done` is reported.
    void load_state(Bytes state, std::function<void(Result<void>)> done);
    /// The guest is ours; `reissue` is reported with the requests that nobody has answered, before anything
    /// else.
    void go_live(LogPos position, uint64_t hash_period_ns, uint64_t behind_ns,
                 std::function<void(std::vector<bus::Output>)> reissue);
    /// From now on a replay, whose next entry has `position`.
    void start_replay(LogPos position);
    void replay(ReplayChunk chunk);

    /// The engine does without its optimisations from now on, and for kCarefulNs after going live; `over` is
    /// reported then. To be called before go_live().
    void be_careful(std::function<void()> over);
    static constexpr uint64_t kCarefulNs = 1'000'000'000;

    void add_input(drive::Input input);
    /// Bytes of inputs that were not delivered yet; of what was typed on the console by itself, for which the
    /// guest may have no room as long as it likes.
    uint64_t waiting_input() const { return waiting_input_; }
    uint64_t waiting_typed() const { return waiting_typed_; }
    void want_entries(EntriesWanted wanted) { entries_wanted_ = wanted; }
    /// How long the outputs of a live guest that is busy with traffic gather at least. They go at once when
    /// the guest halts; 0: always.
    void group_outputs(uint64_t shortest_ns) { groups_.set_shortest(shortest_ns); }
    /// Where the thread ran last; -1: nowhere yet.
    int processor() const { return processor_; }
    /// Whether it has something to do: the guest doesn't sleep, a backup hasn't replayed all.
    bool is_awake() const { return idle_since_ns_ == kNotIdle; }
    /// Whether it has had nothing to do for a while.
    bool is_idle(uint64_t now_ns) const;
    /// Time between two checkpoints of a live guest; 0: none.
    void set_hash_period(uint64_t ns);
    /// `done` is reported when the guest stands still, with its icount.
    void pause(std::function<void(Icount)> done);
    void resume();
    /// The share of its speed at which a live guest runs.
    void set_speed(uint32_t permille);
    /// `work` runs on the vCPU thread between two instructions. The machine exists, and may be off.
    void call(std::function<void(machine::Machine&, const drive::DriverCounts&, LogPos)> work);
    // A copy of a live guest while it runs, one at a time.
    /// Begins it. `begun` is reported with the clone, whose pages the I/O thread may take until end_clone().
    void start_clone(std::function<void(memory::Clone&)> begun);
    /// `begun` is reported; nothing is taken meanwhile.
    void next_round(std::function<void()> begun);
    struct Cut {
        Icount icount;
        LogPos position;  ///< of the entry behind the cut's own
        Bytes state;      ///< drive::save_without_memory()
    };
    /// The same; `done` is reported. Nothing comes of it where the guest is off.
    void cut(std::function<void(Cut)> done);
    /// The I/O thread doesn't touch the clone any more.
    void end_clone();
    /// How long the guest stood still for the clone, or the last one: at the cut; at most for the rounds' sake;
    /// in all, because its queue was full.
    struct ClonePauses {
        std::atomic<uint64_t> cut_ns = 0, longest_other_ns = 0, waited_ns = 0;
    };
    const ClonePauses& clone_pauses() const { return pauses_; }

    /// Ends the log of a live guest with this mark, after a checkpoint of all of its state; it doesn't run
    /// again.
    void end_log(record::EndReason reason, std::string message);

    /// Runs `work` on the I/O thread in its place among what take() yields. From the vCPU thread.
    void report(std::function<void()> work);
    /// What was made since the last call.
    Batch take();
    /// What the engine did up to the last progress.
    translate::EngineReport engine_report() const;
    /// Resets of the guest up to the last progress, since the machine was made here.
    uint64_t resets() const { return resets_; }
    /// The processor's time that the thread has used.
    uint64_t cpu_ns();

  private:
    enum class Mode : uint8_t { kIdle, kLive, kReplaying, kOff };
    static constexpr uint64_t kNotIdle = ~uint64_t{0};
    using Work = std::function<void()>;

    void main();
    /// Whether a running machine is stopped for new work, or may end what it does first.
    enum class Hurry : uint8_t { kYes, kNo };
    void post(Work work, Hurry hurry = Hurry::kYes);
    bool run_work();
    void wait_until(uint64_t wake_ns);
    void live_step();
    void replay_step();
    void rest(uint64_t ran_ns);
    void end_care(uint64_t now_ns);
    enum class Urgency : uint8_t { kCanWait, kAtOnce, kAtOnceWithLog };
    void produce(Produced produced, Urgency urgency);
    void hand_over_entries(uint64_t now_ns, bool stands);
    bool entries_may_wait(uint64_t now_ns, bool stands) const;
    /// Nothing comes from outside, and nobody waits for what the guest makes while its timers wake it up.
    bool rests() const;
    uint64_t entries_due_ns();
    bool gathers(uint64_t now_ns) const;
    void replayed();
    bool take_memory_ahead();
    void give_memory_back();
    void after_replay(drive::ReplayResult result);
    void publish_engine_report();
    void note_pause(uint64_t since_ns);
    void wait_for_room();
    std::atomic<uint64_t>& waiting(record::EntryKind kind) {
        return kind == record::EntryKind::kConsoleInput ? waiting_typed_ : waiting_input_;
    }

    void output(bus::Output output) override;
    void entry_made(LogPos position, std::shared_ptr<const record::Entry> entry) override;
    void output_made(LogPos position, bus::Output output) override;
    void progress(Icount icount) override;

    MachineFactory& factory_;
    Hooks hooks_;

    // Of the vCPU thread alone.
    FlightRecorder flight_;  ///< printed by a failed check, whatever thread it fails on
    std::unique_ptr<machine::Machine> machine_;
    uint64_t ram_bytes_ = 0;
    drive::DriverCounts counts_;
    LogPos position_;
    Mode mode_ = Mode::kIdle;
    std::unique_ptr<drive::LiveDriver> live_;
    std::unique_ptr<drive::Replayer> replayer_;
    std::deque<ReplayChunk> chunks_;
    bool paused_ = false;
    std::unique_ptr<memory::Clone> clone_;   ///< of the live guest
    std::optional<uint64_t> sent_at_stall_;  ///< pages, when it last began to wait for room in its queue
    uint64_t stalled_since_ns_ = 0;
    std::unique_ptr<memory::PageLoader> loader_;  ///< from create() for a copy to load_state()
    std::function<void()> careful_over_;  ///< of be_careful(); empty: the engine has its optimisations
    uint64_t careful_until_ns_ = ~uint64_t{0};
    uint32_t permille_ = 1000;
    pair::traffic::OutputGroups groups_;
    uint64_t last_input_ns_ = 0;
    bool outputs_wait_ = false;    ///< for the next hand-over
    bool woke_up_ = false;         ///< from a long sleep; no input came since
    uint64_t awake_since_ns_ = 0;  ///< since its last sleep
    uint64_t ahead_again_ns_ = 0;  ///< when take_memory_ahead() looks again
    IdleMemory idle_memory_;
    WorkMeter work_meter_;
    uint64_t replayed_ns_ = 0;  ///< when a replay's position was reported last
    bool unreported_ = false;   ///< it has gone on since

    ClonePauses pauses_;
    std::atomic<uint64_t> waiting_input_ = 0;
    std::atomic<uint64_t> waiting_typed_ = 0;
    std::atomic<uint64_t> resets_ = 0;
    std::atomic<EntriesWanted> entries_wanted_ = EntriesWanted::kAtHalt;
    std::atomic<int> processor_ = -1;
    std::atomic<uint64_t> idle_since_ns_ = kNotIdle;
    std::atomic<bool> stopping_ = false;  ///< set under work_mutex_

    std::mutex work_mutex_;  // guards what follows
    std::condition_variable work_changed_;
    std::vector<Work> work_;
    bool busy_ = false;      ///< the machine runs, or is about to
    bool watchful_ = false;  ///< and looks for new work without a signal
    machine::Machine* stoppable_ = nullptr;

    std::mutex produced_mutex_;  // guards what follows
    std::vector<Produced> produced_;
    bool notified_ = false;         ///< since the last take()
    bool entries_waiting_ = false;  ///< some of produced_
    uint64_t entries_since_ns_ = 0;
    bool send_log_ = false;  ///< goes with it

    mutable std::mutex engine_mutex_;  // guards what follows
    translate::EngineReport engine_report_;

    std::thread thread_;
};

}  // namespace lockstep::vmm
