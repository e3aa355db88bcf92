// SPDX-License-Identifier: Apache-2.0
#include "debug/timeline.h"

#include <algorithm>

namespace lockstep::debug {

namespace {

/// Into how many steps a stretch is cut to find a change in it.
constexpr uint64_t kSteps = 64;

/// Where copies lie before a place that was gone back to.
constexpr uint64_t kNear[] = {1'000'000, 10'000};
constexpr size_t kMostNear = 4;

Stops code_stops(const Stops& stops) {
    Stops code;
    std::ranges::copy_if(stops, std::back_inserter(code), [](const Stop& stop) { return stop.is_code(); });
    return code;
}

Stops data_stops(const Stops& stops) {
    Stops data;
    std::ranges::copy_if(stops, std::back_inserter(data), [](const Stop& stop) { return !stop.is_code(); });
    return data;
}

bool only_code_and_writes(const Stops& stops) {
    return std::ranges::all_of(stops,
                               [](const Stop& stop) { return stop.is_code() || stop.kind == Kind::kWrite; });
}

}  // namespace

Result<std::unique_ptr<Timeline>> Timeline::open(const std::string& path, vmm::MachineFactory& factory,
                                                 const TimelineOptions& options) {
    std::unique_ptr<Timeline> timeline(new Timeline(options));
    timeline->ring_.push_back(TRY(Copy::open(path, factory, options.player)));
    timeline->present_ = TRY(timeline->ring_.front()->fork());
    return timeline;
}

// No copy is left out on the way: so the present is never further from the one before it than the distance.
Result<Arrival> Timeline::advance(Icount until, const Stops& stops) {
    for (Here here = Here::kWasMet;; here = Here::kCounts) {
        Icount next_copy = ring_.back()->icount() + options_.distance;
        Icount limit = std::min(until, next_copy);
        Arrival there = TRY(present_->run(limit, stops, here, options_.interruption));
        if (there.why == Why::kThere && present_->icount() == next_copy) TRY(leave_copy());
        if (there.why != Why::kThere || there.icount >= until) return there;
    }
}

Result<void> Timeline::leave_copy() {
    ring_.push_back(TRY(present_->fork()));
    if (ring_.size() <= options_.copies) return {};
    std::vector<std::unique_ptr<Copy>> kept;
    for (size_t i = 0; i < ring_.size(); i += 2) kept.push_back(std::move(ring_[i]));
    ring_ = std::move(kept);
    options_.distance *= 2;
    return {};
}

Copy& Timeline::before(Icount place) {
    Copy* best = ring_.front().get();
    for (const auto* all : {&ring_, &near_})
        for (const std::unique_ptr<Copy>& copy : *all)
            if (copy->icount() <= place && copy->icount() >= best->icount()) best = copy.get();
    return *best;
}

Result<Arrival> Timeline::go(Icount place) {
    place = std::max(place, begin());
    if (icount() == place) return Arrival{Why::kThere, place, {}, {}};
    bool on_the_way = icount() < place && icount() >= before(place).icount();
    return on_the_way ? advance(place, {}) : go_back(place);
}

void Timeline::stay_near(std::unique_ptr<Copy> copy) {
    near_.push_back(std::move(copy));
    if (near_.size() > kMostNear) near_.erase(near_.begin());
}

Result<Arrival> Timeline::go_back(Icount place) {
    present_ = TRY(copy_before(place));
    if (icount() + kNear[0] < place) near_.clear();
    for (uint64_t distance : kNear) {
        if (place.value() < icount().value() + 2 * distance) continue;
        Arrival there = TRY(advance(place - distance, {}));
        if (there.why != Why::kThere) return there;
        stay_near(TRY(present_->fork()));
    }
    if (icount() == place) return Arrival{Why::kThere, place, {}, {}};
    return advance(place, {});
}

Result<Arrival> Timeline::step(const Stops& stops) { return advance(icount() + 1, data_stops(stops)); }

Result<Arrival> Timeline::step_back(const Stops& stops) {
    if (icount() == begin()) return Arrival{Why::kBegin, begin(), {}, {}};
    Icount place = icount() - 1;
    Stops data = data_stops(stops);
    Arrival met{Why::kThere, place, {}, {}};
    if (!data.empty()) met = TRY(last_stop(place, icount(), data));
    Arrival there = TRY(go(place));
    return there.why == Why::kThere && met.why == Why::kStop ? met : there;
}

Result<Arrival> Timeline::run(const Stops& stops) { return advance(kNeverIcount, stops); }

Result<Arrival> Timeline::last_stop(Icount from, Icount until, const Stops& stops) {
    while (until > from) {
        std::unique_ptr<Copy> copy = TRY(copy_before(until - 1));
        Icount start = std::max(copy->icount(), from);
        if (copy->icount() < start) TRY(copy->run(start, {}, Here::kWasMet, options_.interruption));
        Arrival last = TRY(copy->find_last(until, stops, options_.interruption));
        if (last.why != Why::kThere) return last;
        until = start;
    }
    return Arrival{Why::kThere, from, {}, {}};
}

Result<Arrival> Timeline::run_back(const Stops& stops) {
    Icount until = icount(), from = begin();
    Arrival found{Why::kBegin, from, {}, {}};
    if (only_code_and_writes(stops) && code_stops(stops).size() < stops.size()) {
        Icount exact = until.value() - from.value() > kExact ? until - kExact : from;
        Arrival last = TRY(last_stop(exact, until, stops));
        if (last.why == Why::kThere) {
            until = exact;
            for (const Stop& stop : stops) {
                if (stop.is_code()) continue;
                std::vector<Range> ranges = TRY(present_->physical(stop.start, stop.size));
                Arrival change = TRY(last_change(ranges, until));
                if (change.why == Why::kInterrupted || change.why == Why::kBroken) return change;
                change.stop = stop;
                if (change.why == Why::kStop && (found.why != Why::kStop || change.icount > found.icount))
                    found = change;
            }
            Icount after = found.why == Why::kStop ? found.icount + 1 : from;
            Stops code = code_stops(stops);
            if (!code.empty()) last = TRY(last_stop(after, until, code));
        }
        if (last.why != Why::kThere) found = last;
    } else if (!stops.empty()) {
        Arrival last = TRY(last_stop(from, until, stops));
        if (last.why != Why::kThere) found = last;
    }
    if (found.why == Why::kInterrupted || found.why == Why::kBroken) {
        found.icount = icount();
        return found;
    }
    Arrival there = TRY(go(found.icount));
    return there.why == Why::kThere ? found : there;
}

Result<Arrival> Timeline::last_change(uint64_t at, uint64_t size) {
    std::vector<Range> ranges = TRY(present_->physical(at, size));
    if (ranges.empty()) return error("nothing lies at {:#x}; name an address that is mapped here", at);
    Arrival change = TRY(last_change(ranges, icount()));
    if (change.why != Why::kStop) return change;
    change.stop = {at, size, Kind::kWrite};
    Arrival there = TRY(go(change.icount));
    return there.why == Why::kThere ? change : there;
}

// Copies are asked from the latest on; the first whose memory is another tells between which two it changed.
Result<Arrival> Timeline::last_change(const std::vector<Range>& ranges, Icount until) {
    std::unique_ptr<Copy> end = TRY(copy_before(until));
    if (end->icount() < until) TRY(end->run(until, {}, Here::kWasMet, options_.interruption));
    Bytes now = TRY(end->read_physical(ranges));
    for (size_t i = ring_.size(); i-- > 0;) {
        if (ring_[i]->icount() >= until) continue;
        if (TRY(ring_[i]->read_physical(ranges)) != now)
            return last_change_between(ranges, {ring_[i]->icount(), until});
        until = ring_[i]->icount();
    }
    return Arrival{Why::kBegin, begin(), {}, {}};
}

// One machine goes on to where each part begins, forks of it look through the parts. It stays behind, at the place.
Result<Arrival> Timeline::last_change_between(const std::vector<Range>& ranges, Cursor::Change change) {
    std::unique_ptr<Copy> base = TRY(copy_before(change.from));
    while (true) {
        if (base->icount() < change.from)
            TRY(base->run(change.from, {}, Here::kWasMet, options_.interruption));
        if (change.to - change.from <= 1) break;
        std::unique_ptr<Copy> scout = TRY(base->fork());
        auto part = TRY(scout->find_last_change(change.to, kSteps, ranges, options_.interruption));
        if (!part || base->icount() < change.from) return Arrival{Why::kInterrupted, icount(), {}, {}};
        change = *part;
    }
    stay_near(std::move(base));
    return Arrival{Why::kStop, change.from, {}, {}};
}

}  // namespace lockstep::debug
