// SPDX-License-Identifier: Apache-2.0
// A recording's machine at some place of it. It goes forward only.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "debug/place.h"
#include "machine/probe.h"
#include "vmm/log_player.h"

namespace lockstep::debug {

/// Whether a stop at the present instruction counts, or has been met before.
enum class Here : uint8_t { kCounts, kWasMet };

class Cursor {
  public:
    /// Opens the recording where it begins.
    static Result<std::unique_ptr<Cursor>> open(const std::string& path, vmm::MachineFactory& factory,
                                                const vmm::LogPlayer::Options& options);

    Icount icount() const { return player_->machine().icount(); }
    machine::Machine& machine() { return player_->machine(); }
    const cpu::CpuState& processor() const { return probe_.processor(); }

    /// Asked now and then while the machine runs; true: it is to stand.
    using Interrupted = std::function<bool()>;
    /// Runs to `until`, or to the first of these stops.
    Arrival run(Icount until, const Stops& stops, Here here, const Interrupted& interrupted);
    /// Runs to `until`, and says where the last of the stops was met before it: the place before the instruction
    /// concerned. kThere: none was.
    Arrival find_last(Icount until, const Stops& stops, const Interrupted& interrupted);
    /// Runs to `until` in `steps` steps, and says which was the last step in which the memory changed: where it
    /// began, and how long it is. Empty: in none.
    struct Change {
        Icount from, to;
    };
    std::optional<Change> find_last_change(Icount until, uint64_t steps, const std::vector<Range>& ranges,
                                           const Interrupted& interrupted);

    /// What can be read from the start on.
    Bytes read_linear(uint64_t at, size_t size) const;
    Bytes read_physical(const std::vector<Range>& ranges) const;
    /// Where a part of linear memory lies; the parts of it that lie nowhere are left out.
    std::vector<Range> physical(uint64_t at, uint64_t size) const;

    /// In the child of a fork.
    void after_fork() { player_->machine().after_fork(); }

  private:
    explicit Cursor(std::unique_ptr<vmm::LogPlayer> player)
        : player_(std::move(player)), probe_(*player_->machine().probe()) {}
    /// Runs on, without a look at what was met.
    Arrival go_on(Icount until, const Interrupted& interrupted);
    /// One step: to the next entry and over it, or to `limit`.
    drive::ReplayResult step(Icount limit);
    Arrival arrival(Why why) const { return {why, icount(), {}, {}}; }

    std::unique_ptr<vmm::LogPlayer> player_;
    machine::Probe& probe_;
    bool over_ = false;
};

}  // namespace lockstep::debug
