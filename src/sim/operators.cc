// SPDX-License-Identifier: Apache-2.0
#include "sim/operators.h"

#include <algorithm>

#include "sim/world.h"

namespace lockstep::sim {

using replica::Caution;

namespace {
constexpr Micros kTick = 30 * kMillisecond;
constexpr Micros kLookAfter = 300 * kMillisecond;
}  // namespace

void Operators::start(unsigned host, Caution caution) {
    bool starts_there =
        std::ranges::any_of(attempts_, [&](const Shared& a) { return !a->over && a->host == host; });
    if (starts_there || world_.runs_on(host)) return;
    if (caution == Caution::kWatch && world_.says_that_it_runs(1 - host)) return;
    ++world_.counts().starts;
    uint64_t id = world_.new_process_id();
    world_.say(id, fmt::format("is started by hand on host {}{}", host,
                               caution == Caution::kForce ? ", by force" : ""));
    auto attempt =
        std::make_shared<Attempt>(Attempt{id, host, world_.any_clock(), caution,
                                          replica::Starter("toy", world_.timing(), caution, world_.hooks())});
    std::erase_if(attempts_, [](const Shared& a) { return a->over; });
    attempts_.push_back(attempt);
    tick(attempt);
}

bool Operators::busy() const {
    return std::ranges::any_of(attempts_, [](const Shared& a) { return !a->over; });
}

void Operators::keep_running() {
    world_.after(kLookAfter, 0, [this] {
        bool runs = busy() || !world_.living().empty();
        if (!runs && std::exchange(tried_both_, true))
            return world_.checker().fail("one owner",
                                         "of two starts at the same moment none became the owner");
        if (!runs)
            for (unsigned host : {0u, 1u}) start(host, Caution::kWatch);
        keep_running();
    });
}

/// A start may be stopped, or killed, like any process.
void Operators::tick(const Shared& attempt) {
    if (attempt->over) return;
    if (!world_.healed() && world_.random().chance(10))
        attempt->asleep_until = world_.now() + world_.random().between(0, 1500 * kMillisecond);
    if (!world_.healed() && world_.random().chance(5)) {
        world_.say(attempt->id, "KILLED");
        attempt->over = true;
        return;
    }
    when_awake(attempt, [this, attempt](uint64_t local_ms) {
        attempt->starter.on_time(local_ms);
        pump(attempt);
        world_.after(kTick, 0, [this, attempt] { tick(attempt); });
    });
}

void Operators::when_awake(const Shared& attempt, std::function<void(uint64_t)> run) {
    if (attempt->over) return;
    if (world_.now() >= attempt->asleep_until) return run(attempt->clock.ms(world_.now()));
    world_.after(attempt->asleep_until - world_.now(), 0,
                 [this, attempt, run = std::move(run)] { when_awake(attempt, run); });
}

void Operators::pump(const Shared& attempt) {
    for (replica::StartAction& action : attempt->starter.take_actions())
        if (!attempt->over) std::visit([&](const auto& one) { carry_out(attempt, one); }, action);
}

void Operators::carry_out(const Shared& attempt, const replica::LookAtTerm& action) {
    world_.look_at_term(attempt->host, action.term, [this, attempt](const replica::TermView& view) {
        when_awake(attempt, [this, attempt, view](uint64_t local_ms) {
            attempt->starter.on_look(local_ms, view);
            pump(attempt);
        });
    });
}

void Operators::carry_out(const Shared& attempt, const replica::Claim& action) {
    world_.claim(attempt->id, attempt->host, 0, action.term, [this, attempt](replica::ArbiterAnswer answer) {
        when_awake(attempt, [this, attempt, answer](uint64_t local_ms) {
            attempt->starter.on_arbiter(local_ms, answer, "another process");
            pump(attempt);
        });
    });
}

void Operators::carry_out(const Shared& attempt, const replica::RenewTerm& action) {
    world_.renew(attempt->id, attempt->host, 0, action.term, [this, attempt](replica::Renewal answer) {
        when_awake(attempt, [this, attempt, answer](uint64_t local_ms) {
            attempt->starter.on_renewed(local_ms, answer, "");
            pump(attempt);
        });
    });
}

void Operators::carry_out(const Shared& attempt, const replica::StartGuest& action) {
    attempt->over = true;
    world_.begin_life(attempt->id, attempt->host, attempt->clock, action, attempt->caution);
}

void Operators::carry_out(const Shared& attempt, const replica::GiveUp& action) {
    world_.say(attempt->id, "gives up: " + action.sentence);
    ++world_.counts().starts_refused;
    attempt->over = true;
}

void Operators::carry_out(const Shared& attempt, const replica::Say& action) {
    world_.say(attempt->id, action.sentence);
}

}  // namespace lockstep::sim
