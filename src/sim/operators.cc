// SPDX-License-Identifier: Apache-2.0
#include "sim/operators.h"

#include <algorithm>
#include <utility>

#include "sim/world.h"

namespace lockstep::sim {

using replica::Caution;

namespace {
constexpr Micros kLook = 30 * kMillisecond;
constexpr Micros kLookAfter = 300 * kMillisecond;
}  // namespace

void Operators::start(unsigned host, Caution caution, Sight sight) {
    bool starts_there = std::ranges::any_of(
        started_, [&](uint64_t id) { return world_.find(id)->starts() && world_.find(id)->host() == host; });
    if (starts_there || world_.runs_on(host)) return;
    bool asks = caution == Caution::kWatch && sight == Sight::kSeesOthers;
    for (unsigned other = 0; other < world_.hosts(); ++other)
        if (asks && other != host && world_.says_that_it_runs(other)) return;
    ++world_.counts().starts;
    Process& process = world_.start_by_hand(host, caution);
    std::erase_if(started_, [this](uint64_t id) { return !world_.find(id)->starts(); });
    started_.push_back(process.id());
    disturb(process.id());
}

bool Operators::busy() const {
    return std::ranges::any_of(started_, [this](uint64_t id) { return world_.find(id)->starts(); });
}

void Operators::keep_running() {
    world_.after(kLookAfter, 0, [this] {
        bool runs = busy() || !world_.living().empty();
        if (!runs && std::exchange(tried_both_, true))
            return world_.checker().fail("one owner",
                                         "of starts on all hosts at the same moment none became the owner");
        if (!runs)
            for (unsigned host = 0; host < world_.hosts(); ++host) start(host, Caution::kWatch);
        keep_running();
    });
}

/// A start may be stopped, or killed, like any process.
void Operators::disturb(uint64_t id) {
    Process& process = *world_.find(id);
    if (!process.starts() || world_.healed()) return;
    if (world_.random().chance(10)) world_.stop(process, world_.random().between(0, 1500 * kMillisecond));
    if (world_.random().chance(5)) {
        world_.say(id, "KILLED");
        return process.die();
    }
    world_.after(kLook, 0, [this, id] { disturb(id); });
}

}  // namespace lockstep::sim
