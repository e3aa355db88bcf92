// SPDX-License-Identifier: Apache-2.0
// The guest of a side: the real machine under the real drivers, in the time of a sweep.
//
// It runs in turns. In each it tells the session what the turn before has made, does what it was asked, and runs on:
// live for a slice, or in a replay up to some entry. The time that its instructions take passes before the next.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "drive/live_driver.h"
#include "drive/replayer.h"
#include "memory/clone.h"
#include "memory/page_loader.h"
#include "pair/ports.h"
#include "timeline.h"

namespace lockstep::crash_points {

class Side;

class Guest : public pair::Guest, private bus::OutputSink, private drive::LiveListener {
  public:
    /// An output, as it was made.
    struct Made {
        uint64_t number;    ///< since power-on
        LogPos entry;       ///< its kOutput entry; of a replay unknown
        uint64_t contents;  ///< a hash of it
    };

    Guest(Timeline& timeline, Side& side) : timeline_(timeline), side_(side) {}

    void add_input(drive::Input input);
    /// What it makes from now on is never told, and it runs no more: its process is about to die.
    void freeze() { frozen_ = true; }
    machine::Machine* machine() { return machine_.get(); }

    /// What it has made since its state was saved here, or came here.
    const std::vector<Made>& made() const { return made_; }
    /// Of a guest that came here: all writes to its first disk, those included that were unanswered then.
    const std::vector<bus::DiskRequest>& writes() const { return writes_; }
    /// Whether its session knows of all that it has made.
    bool has_told_all() const { return produced_.empty(); }
    /// State hashes of its log that were equal.
    uint64_t checkpoints() const { return replayer_ ? replayer_->checkpoints() : 0; }
    /// Outputs since power-on.
    uint64_t outputs() const;

    // --- pair::Guest ---

    void make(SharedBytes configuration, pair::MadeFor purpose) override;
    void start_replay(LogPos position) override;
    void replay(std::vector<record::Entry> entries, Icount complete) override;
    void go_live(LogPos position, uint64_t behind_ns) override;
    void pause(uint64_t number) override;
    void settle(uint64_t number) override;
    void resume() override;
    void set_speed(uint32_t) override {}
    void start_clone(uint64_t number) override;
    pair::Taken take_pages(Bytes& out, size_t bytes) override;
    void next_round(uint64_t number) override;
    void cut(uint64_t number) override;
    void end_clone() override;
    Result<void> load_pages(ByteSpan records) override { return loader_->take(records); }
    void load_state(Bytes state) override;
    void be_careful() override {}
    void want_log(bool) override {}

  private:
    struct EntryMade {
        LogPos position;
        std::shared_ptr<const record::Entry> entry;
    };
    struct OutputMade {
        LogPos position;
        bus::Output output;
    };
    struct Replayed {
        LogPos position;
        Icount icount;
    };
    struct Chunk {
        std::deque<record::Entry> entries;
        Icount complete;
    };

    void ask(std::function<void()> work);
    void wake(Micros pause = 0);
    void turn();
    void live_turn();
    void replay_turn();
    drive::ReplayResult replay_some();
    void hand_over();
    Micros time_of(uint64_t instructions) const;
    void remember(uint64_t number, LogPos entry, const bus::Output& output);

    void output(bus::Output output) override;
    void entry_made(LogPos position, std::shared_ptr<const record::Entry> entry) override;
    void output_made(LogPos position, bus::Output output) override;
    void progress(Icount) override {}

    Timeline& timeline_;
    Side& side_;
    std::unique_ptr<machine::Machine> machine_;
    std::unique_ptr<memory::Clone> clone_;        ///< of this guest
    std::unique_ptr<memory::PageLoader> loader_;  ///< of one that comes here
    uint64_t ram_bytes_ = 0;
    drive::DriverCounts counts_;
    std::unique_ptr<drive::LiveDriver> live_;
    std::unique_ptr<drive::Replayer> replayer_;
    std::atomic<bool> never_ = false;
    std::deque<Chunk> chunks_;
    std::deque<std::function<void()>> work_;
    std::deque<std::variant<EntryMade, OutputMade, Replayed>> produced_;
    bool paused_ = false, frozen_ = false;
    bool outputs_made_ = false;      ///< that somebody waits for, since the last batch
    Micros busy_until_ = 0;          ///< what it made last takes so long
    uint64_t turn_ = 0;              ///< the one that is to come
    std::optional<Micros> turn_at_;  ///< and when
    bool came_here_ = false;         ///< in a saved state
    std::vector<Made> made_;
    std::vector<bus::DiskRequest> writes_;
};

}  // namespace lockstep::crash_points
