// SPDX-License-Identifier: Apache-2.0
#include "sim/faults.h"

#include "base/check.h"

namespace lockstep::sim {

using replica::State;

const Faults::Row Faults::kRows[] = {
    {"kill the primary", 20, &Faults::kill_primary},
    {"kill the backup", 12, &Faults::kill_backup},
    {"stop the primary", 16, &Faults::stop_primary},
    {"stop the backup", 10, &Faults::stop_backup},
    {"cut the link", 10, &Faults::cut_both_ways},
    {"cut the link one way", 12, &Faults::cut_one_way},
    {"lose datagrams", 6, &Faults::lose_datagrams},
    {"break the channel", 6, &Faults::break_channel},
    {"slow network", 5, &Faults::slow_network},
    {"very slow network", 4, &Faults::very_slow_network},
    {"arbiter out of reach", 8, &Faults::lose_arbiter},
    {"arbiter and link out of reach", 8, &Faults::lose_arbiter_and_link},
    {"slow replay", 5, &Faults::slow_replay},
    {"divergence", 4, &Faults::diverge},
    {"hand-over", 8, &Faults::hand_over},
    {"dismiss the backup", 4, &Faults::dismiss},
    {"no host for a backup", 4, &Faults::no_backups},
    {"start by hand", 8, &Faults::start_by_hand},
    {"start by hand on all hosts", 4, &Faults::start_everywhere},
    {"start by force", 2, &Faults::start_by_force},
    {"start by hand unseen", 4, &Faults::start_unseen},
    {"power off", 1, &Faults::power_off},
    {"fail-over and power off", 1, &Faults::fail_over_and_power_off},
    {"reset", 8, &Faults::reset},
};

Faults::Faults(World& world) : world_(world), random_(world.random()), operators_(world) {
    calm_ = random_.between(100 * kMillisecond, 900 * kMillisecond);
    if (random_.chance(60)) world_.allow_loss();
    forces_ = random_.chance(200);
}

void Faults::start(Micros end) {
    end_ = end;
    step();
}

void Faults::step() {
    world_.after(random_.between(1, 2 * calm_), 0, [this] {
        if (ended_ || world_.now() >= end_) return;
        uint64_t total = 0;
        for (const Row& row : kRows) total += row.weight;
        uint64_t draw = random_.between(0, total - 1);
        for (const Row& row : kRows) {
            if (draw < row.weight) {
                world_.say(0, std::string(row.name));
                (this->*row.strike)();
                break;
            }
            draw -= row.weight;
        }
        step();
    });
}

void Faults::end() {
    ended_ = true;
    world_.heal();
    if (!world_.power_off_expected()) operators_.keep_running();
}

Process* Faults::primary() { return world_.the_owner(); }

Process* Faults::backup() {
    Process* newest = nullptr;
    for (Process* process : world_.living())
        if (replica::is_backup(process->replica().state())) newest = process;
    return newest;
}

void Faults::kill(Process* process) {
    if (!process) return;
    world_.next_death_is_silent(random_.chance(400));
    // Between two actions soon, or at once.
    if (random_.chance(700)) return process->die_after(random_.between(1, 40));
    if (world_.may_die(*process)) world_.kill(*process);
}

void Faults::stop_primary() {
    Process* process = primary();
    if (!process) return;
    Micros time = random_.between(20 * kMillisecond, 1800 * kMillisecond);
    if (random_.chance(700)) return process->pause_after(random_.between(1, 20), time);
    world_.stop(*process, time);
}

void Faults::stop_backup() {
    if (Process* process = backup())
        process->pause_after(random_.between(1, 20), random_.between(20'000, 1'200'000));
}

void Faults::cut_both_ways() {
    Micros time = random_.between(20 * kMillisecond, 1500 * kMillisecond);
    world_.cut(0, time);
    world_.cut(1, time);
}

void Faults::cut_one_way() {
    world_.cut(static_cast<unsigned>(random_.between(0, 1)),
               random_.between(20 * kMillisecond, 1500 * kMillisecond));
}

void Faults::lose_datagrams() {
    world_.lose_datagrams(random_.chance(500) ? 1000 : 300);
    world_.after(random_.between(200 * kMillisecond, 1500 * kMillisecond), 0,
                 [this] { world_.lose_datagrams(0); });
}

void Faults::break_channel() {
    if (Process* process = primary()) world_.break_channel(*process);
}

void Faults::slow_network() {
    world_.slow_network(random_.between(kMillisecond, 120 * kMillisecond));
    world_.after(random_.between(100 * kMillisecond, 1000 * kMillisecond), 0,
                 [this] { world_.slow_network(0); });
}

/// A round trip above the lease for longer than the failure bound, while everything arrives.
void Faults::very_slow_network() {
    world_.slow_network(random_.between(100 * kMillisecond, 600 * kMillisecond));
    world_.after(random_.between(1000 * kMillisecond, 3000 * kMillisecond), 0,
                 [this] { world_.slow_network(0); });
}

/// One host loses it, or all do.
void Faults::lose_arbiter() {
    Micros time = random_.between(50 * kMillisecond, 2000 * kMillisecond);
    if (random_.chance(500)) return world_.lose_arbiter(world_.any_host(), time);
    for (unsigned host = 0; host < world_.hosts(); ++host) world_.lose_arbiter(host, time);
}

void Faults::lose_arbiter_and_link() {
    lose_arbiter();
    cut_both_ways();
}

void Faults::slow_replay() {
    Process* process = backup();
    if (!process) return;
    process->set_replay_speed(random_.between(100, 900));
    world_.after(random_.between(300 * kMillisecond, 1500 * kMillisecond), 0,
                 [this, id = process->id()] { world_.find(id)->set_replay_speed(1500); });
}

void Faults::diverge() {
    Process* process = backup();
    Process* owner = primary();
    if (!process || !owner || process->paused() || process->replica().state() != State::kReplaying) return;
    if (world_.expendable(*process)) process->diverge();
}

void Faults::hand_over() {
    Process* process = primary();
    if (process && !process->paused()) process->hand_over();
}

void Faults::dismiss() {
    Process* process = primary();
    if (!process || process->paused()) return;
    world_.dismissed(process->replica().status(0).peer);
    process->set_policy(replica::Policy::kAlone);
    world_.after(random_.between(50 * kMillisecond, 500 * kMillisecond), process->id(),
                 [process] { process->set_policy(replica::Policy::kProtect); });
}

void Faults::no_backups() {
    world_.no_new_backups(true);
    world_.after(random_.between(300 * kMillisecond, 1500 * kMillisecond), 0,
                 [this] { world_.no_new_backups(false); });
}

void Faults::start_by_hand() {
    if (!world_.power_off_expected()) operators_.start(world_.any_host(), replica::Caution::kWatch);
}

void Faults::start_everywhere() {
    if (world_.power_off_expected()) return;
    for (unsigned host = 0; host < world_.hosts(); ++host) operators_.start(host, replica::Caution::kWatch);
}

void Faults::start_by_force() {
    if (forces_ && !world_.power_off_expected())
        operators_.start(world_.any_host(), replica::Caution::kForce);
}

/// The survivor's guest goes off before it is protected again, while a dead primary's writes may still be under way.
void Faults::fail_over_and_power_off() {
    Process* process = primary();
    if (!process || !world_.may_die(*process)) return;
    world_.next_death_is_silent(random_.chance(400));
    world_.kill(*process);
    world_.after(random_.between(kMillisecond, 400 * kMillisecond), 0, [this] {
        Process* survivor = primary();
        if (!ended_ && survivor && survivor->replica().state() == State::kSolo) power_off();
    });
}

/// The hosts that have a process of the VM don't reach the arbiter for a while, and one that has none reaches it, but
/// none of the others.
void Faults::start_unseen() {
    if (world_.power_off_expected()) return;
    Micros time = random_.between(1000 * kMillisecond, 4000 * kMillisecond);
    std::vector<unsigned> without;
    for (unsigned host = 0; host < world_.hosts(); ++host)
        if (world_.runs_on(host))
            world_.lose_arbiter(host, time);
        else
            without.push_back(host);
    if (without.empty()) return;
    unsigned host = without[random_.between(0, without.size() - 1)];
    operators_.start(host, replica::Caution::kWatch, Operators::Sight::kNone);
}

void Faults::reset() {
    Process* process = primary();
    if (process && !process->paused()) world_.after(1, process->id(), [process] { process->reset(); });
}

void Faults::power_off() {
    Process* process = primary();
    if (!process || process->paused() || operators_.busy()) return;
    world_.expect_power_off();
    world_.after(1, process->id(), [process] { process->power_off(); });
}

}  // namespace lockstep::sim
