// SPDX-License-Identifier: Apache-2.0
#include "debug/cursor.h"

#include <algorithm>
#include <map>

namespace lockstep::debug {

namespace {

/// Instructions between two looks for an interruption: some milliseconds.
constexpr uint64_t kSlice = 10'000'000;

/// A replay is never aborted: it runs in slices.
const std::atomic<bool> kNotAborted = false;

std::vector<machine::Probe::Stop> probe_stops(const Stops& stops) {
    std::vector<machine::Probe::Stop> all;
    for (const Stop& stop : stops) all.push_back({stop.start, stop.size, stop.kind, 0});
    return all;
}

/// What the write stops cover, and what lay there when it was looked at last.
class WatchedBytes {
  public:
    WatchedBytes(const Cursor& cursor, const Stops& stops) : cursor_(cursor) {
        for (const Stop& stop : stops)
            if (stop.kind == Kind::kWrite) bytes_[{stop.start, stop.size}] = now(stop);
    }
    /// The one of `stops` that was met by touching `met`, a part of one. Empty: nothing has changed there.
    std::optional<Stop> met(const Stops& stops, const machine::Probe::Stop& met) {
        for (const Stop& stop : stops) {
            bool same = stop.kind == met.kind && met.start - stop.start < stop.size;
            if (!same) continue;
            if (stop.kind != Kind::kWrite) return stop;
            Bytes now_there = now(stop);
            if (std::exchange(bytes_[{stop.start, stop.size}], now_there) != now_there) return stop;
        }
        return std::nullopt;
    }

  private:
    Bytes now(const Stop& stop) const { return cursor_.read_linear(stop.start, stop.size); }

    const Cursor& cursor_;
    std::map<std::pair<uint64_t, uint64_t>, Bytes> bytes_;
};

}  // namespace

Result<std::unique_ptr<Cursor>> Cursor::open(const std::string& path, vmm::MachineFactory& factory,
                                             const vmm::LogPlayer::Options& options) {
    auto player = TRY(vmm::LogPlayer::open(path, factory, options, kNotAborted));
    if (!player->machine().probe()) return error("{}: its machine is one that no debugger understands", path);
    return std::unique_ptr<Cursor>(new Cursor(std::move(player)));
}

drive::ReplayResult Cursor::step(Icount limit) {
    const record::Entry* entry = player_->next();
    if (!entry) return drive::ReplayResult::kEnded;
    if (entry->icount >= limit) return player_->replayer().run_to(limit);
    return player_->apply();
}

Arrival Cursor::go_on(Icount until, const Interrupted& interrupted) {
    while (icount() < until) {
        if (over_) return arrival(Why::kEnd);
        drive::ReplayResult result = step(std::min(until, icount() + kSlice));
        switch (result) {
            case drive::ReplayResult::kDone:
                break;
            case drive::ReplayResult::kStopped:
                return arrival(Why::kStop);
            case drive::ReplayResult::kDiverged: {
                Arrival broken = arrival(Why::kBroken);
                broken.problem = player_->replayer().divergence()->sentence;
                return broken;
            }
            default:
                over_ = true;
                if (player_->problem().empty()) break;
                Arrival broken = arrival(Why::kBroken);
                broken.problem = player_->problem();
                return broken;
        }
        if (interrupted()) return arrival(Why::kInterrupted);
    }
    return arrival(Why::kThere);
}

Arrival Cursor::run(Icount until, const Stops& stops, Here here, const Interrupted& interrupted) {
    probe_.set_stops(probe_stops(stops));
    if (here == Here::kWasMet) probe_.step_over();
    WatchedBytes watched(*this, stops);
    while (true) {
        Arrival there = go_on(until, interrupted);
        if (there.why != Why::kStop) return there;
        std::optional<machine::Probe::Stop> met = probe_.take_stop();
        std::optional<Stop> stop = met ? watched.met(stops, *met) : std::nullopt;
        if (!stop) continue;
        there.stop = *stop;
        return there;
    }
}

Arrival Cursor::find_last(Icount until, const Stops& stops, const Interrupted& interrupted) {
    probe_.set_stops(probe_stops(stops));
    WatchedBytes watched(*this, stops);
    Arrival last;
    while (true) {
        Arrival there = go_on(until, interrupted);
        if (there.why == Why::kInterrupted || there.why == Why::kBroken) return there;
        if (there.why != Why::kStop) return last;
        std::optional<machine::Probe::Stop> met = probe_.take_stop();
        std::optional<Stop> stop = met ? watched.met(stops, *met) : std::nullopt;
        if (!stop) continue;
        last = {Why::kStop, stop->is_code() ? icount() : icount() - 1, *stop, {}};
    }
}

std::optional<Cursor::Change> Cursor::find_last_change(Icount until, uint64_t steps,
                                                       const std::vector<Range>& ranges,
                                                       const Interrupted& interrupted) {
    probe_.set_stops({});
    uint64_t length = std::max<uint64_t>(1, (until - icount()) / steps);
    std::optional<Change> last;
    Bytes before = read_physical(ranges);
    while (icount() < until) {
        Icount from = icount();
        Arrival there = go_on(std::min(until, from + length), interrupted);
        Bytes now = read_physical(ranges);
        if (std::exchange(before, now) != now) last = Change{from, icount()};
        if (there.why != Why::kThere) break;
    }
    return last;
}

Bytes Cursor::read_linear(uint64_t at, size_t size) const {
    Bytes bytes(size);
    bytes.resize(probe_.read_linear(at, bytes));
    return bytes;
}

Bytes Cursor::read_physical(const std::vector<Range>& ranges) const {
    Bytes all;
    for (const Range& range : ranges) {
        Bytes bytes(range.size);
        if (player_->machine().memory().read(GuestPhys(range.start), bytes))
            all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
}

std::vector<Range> Cursor::physical(uint64_t at, uint64_t size) const {
    std::vector<Range> ranges;
    while (size > 0) {
        uint64_t piece = std::min(size, kPageSize - (at & kPageMask));
        if (std::optional<GuestPhys> place = probe_.physical(at)) ranges.push_back({place->value(), piece});
        at += piece;
        size -= piece;
    }
    return ranges;
}

}  // namespace lockstep::debug
