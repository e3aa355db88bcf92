// SPDX-License-Identifier: Apache-2.0
#include "sim/world.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace lockstep::sim {

using replica::ArbiterAnswer;
using replica::ChannelEnd;
using replica::State;

namespace {
/// What the storage may take for a write.
constexpr uint64_t kSlowestWriteMs = 30;
}  // namespace

/// Lets the replicas' fault points strike in some runs, and plants the bug that was asked for.
class World::SimulatedHooks : public replica::Hooks {
  public:
    SimulatedHooks(uint64_t seed, std::optional<replica::PlantedBug> plant) : random_(seed), plant_(plant) {
        constexpr uint64_t kRates[] = {0, 2, 20, 100};
        for (uint64_t& rate : rates_) rate = kRates[random_.between(0, 3)];
        // A peer suspected at every other tick would never stay.
        uint64_t& suspicion = rates_[static_cast<size_t>(replica::FaultPoint::kEarlySuspicion)];
        suspicion = std::min<uint64_t>(suspicion, 2);
    }
    bool strikes(replica::FaultPoint point) override {
        return !quiet_ && random_.chance(rates_[static_cast<size_t>(point)]);
    }
    bool planted(replica::PlantedBug bug) const override { return plant_ == bug; }
    bool stops() override { return false; }

    bool quiet_ = false;

  private:
    Random random_;
    std::optional<replica::PlantedBug> plant_;
    std::array<uint64_t, 8> rates_{};
};

Counts& Counts::operator+=(const Counts& other) {
#define LOCKSTEP_SIM_COUNT(name, text) name += other.name;
    LOCKSTEP_SIM_COUNTS(LOCKSTEP_SIM_COUNT)
#undef LOCKSTEP_SIM_COUNT
    return *this;
}

std::string Counts::text() const {
    std::string lines;
#define LOCKSTEP_SIM_COUNT(name, what) lines += fmt::format("{:>12}  {}\n", name, what);
    LOCKSTEP_SIM_COUNTS(LOCKSTEP_SIM_COUNT)
#undef LOCKSTEP_SIM_COUNT
    return lines;
}

World::World(const WorldOptions& options)
    : options_(options),
      random_(options.seed),
      hooks_(std::make_unique<SimulatedHooks>(random_.next(), options.plant)) {
    timing_.heartbeat_ms = random_.between(50, 100);
    timing_.failure_ms = timing_.heartbeat_ms * random_.between(4, 10);
    timing_.lease_ms = timing_.failure_ms * 3 / 5;
    timing_.drift_ms = timing_.failure_ms / 10;
    timing_.margin_ms = random_.between(0, timing_.failure_ms * 3 / 10);
    timing_.storage_ms = kSlowestWriteMs + 10;
    timing_.synchronise_ms = 1500;
    timing_.hand_over_ms = 800;
    timing_.ask_ms = 300;
    timing_.renew_ms = 200;
    timing_.term_lease_ms = 900;
    timing_.watch_ms = 1100;
    timing_.look_ms = 60;
    if (random_.chance(500)) hosts_ = static_cast<unsigned>(random_.between(3, kMostHosts));
    Process& first = add_process(0, next_config());
    granted_[1] = first.id();
    first.own(Term(1));
    client_step();
    client_retry();
}

World::~World() = default;

/// Of a process with a new number.
pair::Config World::next_config() {
    pair::Config session;
    session.machine = Bytes(20, 7);
    session.clone_pace = {
        .piece = random_.between(20, 100), .ahead = random_.between(0, 2000), .bytes_per_second = 0};
    if (random_.chance(200)) session.clone_pace.bytes_per_second = random_.between(2000, 10'000);
    replica::Config& config = session.replica;
    config.vm = 7;
    config.self = next_process_++;
    config.vm_name = "toy";
    config.build = "sim";
    config.cpu = "toy";
    config.buffer_bytes = random_.between(100, 2000);  // small, so that it fills up
    config.timing = timing_;
    config.tenure = replica::Tenure::kLeased;
    return session;
}

HostClock World::any_clock() {
    auto drift = static_cast<int64_t>(random_.between(0, 20'000)) - 10'000;
    return {drift, random_.between(1, 1'000'000)};
}

Process& World::add_process(unsigned host, pair::Config config) {
    uint64_t id = config.replica.self;
    config.replica.host = fmt::format("host {}", host);
    return *(processes_[id] = std::make_unique<Process>(*this, id, host, std::move(config), any_clock()));
}

void World::run(Micros until) {
    while (!queue_.empty() && now_ < until && !checker_.failed()) {
        Event event = queue_.pop();
        now_ = event.at;
        ++counts_.events;
        note(event.process, 1000);
        if (event.process == 0) {
            event.run();
        } else if (Process* process = find(event.process)) {
            process->dispatch(std::move(event.run));
        }
    }
}

void World::say(uint64_t process, const std::string& sentence) {
    if (options_.trace)
        options_.trace(
            fmt::format("{:>9.3f} ms  {:>2}  {}", static_cast<double>(now_) / 1000, process, sentence));
}

Process* World::find(uint64_t id) {
    auto found = processes_.find(id);
    return found == processes_.end() ? nullptr : found->second.get();
}

std::vector<Process*> World::living() {
    std::vector<Process*> list;
    for (auto& [id, process] : processes_)
        if (process->alive() && !process->starts()) list.push_back(process.get());
    return list;
}

// --- Network ---

Micros World::delay() { return random_.between(100, random_.chance(20) ? 20'000 : 600) + extra_delay_; }

Micros World::arrival_through(Channel& channel, uint64_t from, uint64_t to) {
    Micros arrival = std::max(now_, cut_until_[from > to]) + delay();
    Micros& last = channel.arrival[channel.ends[1] == to];
    return last = std::max(last + 1, arrival);
}

void World::connect(uint64_t primary) {
    Process* owner = find(primary);
    backup_coming_ = false;
    bool wanted = owner->alive() && !owner->paused() && owner->channel() == 0 &&
                  owner->replica().state() == State::kSolo;
    unsigned host = (owner->host() + static_cast<unsigned>(random_.between(1, hosts_ - 1))) % hosts_;
    if (!wanted || backups_refused_ || runs_on(host)) return;
    ++counts_.backups;
    Process& backup = add_process(host, next_config());
    uint64_t id = backup.id();
    backup.back_up();
    uint64_t number = next_channel_++;
    channels_[number].ends = {primary, id};
    backup.channel_opened(number);
    owner->channel_opened(number);
}

void World::ask_for_backup(Process& from) {
    if (std::exchange(backup_coming_, true)) return;
    after(random_.between(10 * kMillisecond, 150 * kMillisecond), 0, [this, id = from.id()] { connect(id); });
}

void World::send_channel(Process& from, Bytes bytes) {
    uint64_t number = from.channel();
    Channel& channel = channels_[number];
    if (channel.dead) return;
    uint64_t to = channel.ends[channel.ends[0] == from.id()];
    if (options_.trace) {
        Result<replica::Envelope> envelope = replica::decode(bytes);
        if (envelope)
            say(from.id(), fmt::format("-> {} {}", to, replica::describe(envelope.value().message)));
    }
    queue_.push(arrival_through(channel, from.id(), to), to, [this, number, to, bytes = std::move(bytes)] {
        if (!channels_[number].dead) find(to)->channel_message(number, bytes);
    });
}

void World::close_channel(Process& from) {
    uint64_t number = from.channel();
    Channel& channel = channels_[number];
    if (channel.dead) return;
    uint64_t to = channel.ends[channel.ends[0] == from.id()];
    queue_.push(arrival_through(channel, from.id(), to), to,
                [this, number, to] { find(to)->channel_closed(number, ChannelEnd::kPeerClosed); });
}

void World::break_channel(Process& process) {
    uint64_t number = process.channel();
    if (number == 0) return;
    channels_[number].dead = true;
    for (uint64_t end : channels_[number].ends)
        after(random_.between(0, 300 * kMillisecond), end,
              [this, number, end] { find(end)->channel_closed(number, ChannelEnd::kBroken); });
}

void World::send_datagram(Process& from, uint64_t to, const Bytes& bytes) {
    if (to == 0 || find(to) == nullptr) return;
    if (cut_until_[from.id() > to] > now_ || random_.chance(datagram_loss_)) return;
    for (unsigned copies = random_.chance(20) ? 2 : 1; copies != 0; --copies)
        after(delay(), to, [this, to, bytes] { find(to)->datagram(bytes); });
}

void World::cut(unsigned direction, Micros time) {
    cut_until_[direction] = std::max(cut_until_[direction], now_ + time);
}

// --- Arbiter ---

void World::claim(uint64_t id, unsigned host, uint64_t to, Term term,
                  std::function<void(ArbiterAnswer)> answer) {
    after(random_.between(200, 6000), 0, [this, id, host, to, term, answer = std::move(answer)] {
        ArbiterAnswer given = ArbiterAnswer::kUnreachable;
        // Out of reach may also mean that the claim was made and the answer was lost.
        if (answers(host) || random_.chance(200)) {
            uint64_t winner = granted_.emplace(term.value(), id).first->second;
            if (answers(host)) given = winner == id ? ArbiterAnswer::kWon : ArbiterAnswer::kLost;
        }
        counts_.unreachable += given == ArbiterAnswer::kUnreachable;
        say(id, fmt::format("claims term {}: {}", term.value(), static_cast<int>(given)));
        after(answer_time(), to, [answer, given] { answer(given); });
    });
}

/// A renewal is written first; then it is seen whether there is a newer term.
void World::renew(uint64_t id, unsigned host, uint64_t to, Term term,
                  const std::optional<replica::HostPair>& hosts,
                  std::function<void(replica::Renewal)> answer) {
    after(random_.between(200, 6000), 0, [this, id, host, to, term, hosts, answer = std::move(answer)] {
        bool written = answers(host) || random_.chance(200);
        if (written) leases_[term.value()] = {id, leases_[term.value()].count + 1, false, hosts};
        after(random_.between(100, 3000), 0, [this, id, host, to, term, written, answer] {
            replica::Renewal given = replica::Renewal::kUnreachable;
            bool newest = granted_.rbegin()->first <= term.value();
            if (written && answers(host))
                given = newest ? replica::Renewal::kRenewed : replica::Renewal::kSuperseded;
            if (given == replica::Renewal::kSuperseded) {
                ++counts_.superseded;
                say(id, fmt::format("finds term {} claimed", granted_.rbegin()->first));
            }
            after(answer_time(), to, [answer, given] { answer(given); });
        });
    });
}

/// As the leases of terms from this one down say.
replica::HostPair World::find_pair(uint64_t term) const {
    for (; term > 0; --term) {
        auto lease = leases_.find(term);
        if (lease == leases_.end()) continue;
        if (lease->second.free) return {};
        if (lease->second.hosts) return *lease->second.hosts;
    }
    return {};
}

void World::look_at_term(unsigned host, uint64_t to, Term term,
                         std::function<void(const replica::TermView&)> answer) {
    after(random_.between(200, 6000), 0, [this, host, to, term, answer = std::move(answer)] {
        replica::TermView view;
        view.reachable = answers(host);
        view.latest = Term(granted_.rbegin()->first);
        auto lease = leases_.find(term == Term(0) ? view.latest.value() : term.value());
        if (lease != leases_.end()) {
            view.lease = fmt::format("{} {}", lease->second.process, lease->second.count);
            view.owner = fmt::format("process {}", lease->second.process);
            view.free = lease->second.free;
        }
        view.hosts = find_pair(term == Term(0) ? view.latest.value() : term.value());
        after(answer_time(), to, [answer, view] { answer(view); });
    });
}

// --- Operators ---

replica::Hooks* World::hooks() { return hooks_.get(); }

bool World::runs_on(unsigned host) {
    auto list = living();
    return std::ranges::any_of(list, [&](Process* process) { return process->host() == host; });
}

bool World::says_that_it_runs(unsigned host) {
    bool linked = cut_until_[0] <= now_ && cut_until_[1] <= now_;
    if (!linked || random_.chance(500)) return false;  // the daemon may be down
    auto list = living();
    return std::ranges::any_of(
        list, [&](Process* process) { return process->host() == host && !process->paused(); });
}

Process& World::start_by_hand(unsigned host, replica::Caution caution) {
    pair::Config config = next_config();
    config.caution = caution;
    Process& process = add_process(host, std::move(config));
    say(process.id(), fmt::format("is started by hand on host {}{}", host,
                                  caution == replica::Caution::kForce ? ", by force" : ""));
    process.start_by_hand();
    return process;
}

void World::begin_life(Term term, replica::Caution caution) {
    if (!checker_.begin_life(term, caution)) return;
    ++counts_.lives;
    outstanding_.clear();
    disk_ = {};
    cache_.clear();
}

/// Processes whose term was overruled by force don't count.
bool World::others_may_act(uint64_t process) {
    auto list = living();
    return std::ranges::any_of(list, [&](Process* other) {
        return other->id() != process && !checker_.overruled(other->replica().term()) && other->may_act();
    });
}

// --- Disk and effects ---

bool World::planted(replica::PlantedBug bug) const { return hooks_->planted(bug); }

void World::submit(Process& from, uint64_t number, const ToyOutput& output) {
    Micros time = random_.between(100, random_.chance(30) ? kSlowestWriteMs * kMillisecond : 3000);
    after(time, 0, [this, id = from.id(), term = from.replica().term(), number, output] {
        apply(id, term, number, output);
    });
}

void World::apply(uint64_t id, Term term, uint64_t number, const ToyOutput& output) {
    if (!find(id)->alive() && random_.chance(500)) return;  // died with its host
    std::map<uint64_t, uint64_t>& cache = cache_[id];
    auto cached = cache.find(output.sector);
    uint64_t value = cached == cache.end() ? disk_[output.sector] : cached->second;
    if (output.kind == EffectKind::kDiskWrite) {
        if (planted(replica::PlantedBug::kLostCache)) {
            cache[output.sector] = output.value;
            after(random_.between(50 * kMillisecond, 1000 * kMillisecond), 0,
                  [this, id, term, sector = output.sector] { write_back(id, term, sector); });
        } else {
            store(id, term, output.sector, output.value);
        }
    }
    after(random_.between(50, 1000), id, [this, id, number, value] { find(id)->disk_done(number, value); });
}

/// A host does this whatever has become of the process; not if it has died itself.
void World::write_back(uint64_t id, Term term, uint64_t sector) {
    auto cached = cache_[id].extract(sector);
    if (!cached.empty()) store(id, term, sector, cached.mapped());
}

void World::store(uint64_t id, Term term, uint64_t sector, uint64_t value) {
    if (checker_.overruled(term)) return;
    checker_.disk_written(id, term);
    disk_[sector] = value;
}

void World::effect(Process& from, LogPos entry, const ToyOutput& output) {
    Process* backup = find(from.replica().status(0).peer);
    Effect effect;
    effect.process = from.id();
    effect.term = from.replica().term();
    effect.alone = from.needs_no_backup();
    effect.entry = entry;
    effect.backup_holds = backup ? backup->held_entries() : LogPos(0);
    effect.output = output;
    checker_.effect(effect);
    if (output.kind != EffectKind::kPacket || output.request == 0 || checker_.overruled(effect.term)) return;
    after(delay(), 0, [this, request = output.request] {
        if (outstanding_.erase(request) == 0) return;
        ++counts_.answers;
        checker_.answered(request);
    });
}

void World::owner(Process& process) {
    if (process.replica().term() > Term(1))
        (process.received() != LogPos(0) ? counts_.fail_overs : counts_.take_overs) += 1;
    say(process.id(), fmt::format("OWNER in term {}", process.replica().term().value()));
    checker_.owner(process.id(), process.replica().term(), others_may_act(process.id()));
}

// --- Client ---

void World::client_step() {
    if (client_stopped_) return;
    ++counts_.requests;
    uint64_t number = next_request_++;
    outstanding_[number] = {random_.between(0, kSectors - 1),
                            random_.chance(700) ? Operation::kPut : Operation::kGet};
    send_request(number);
    after(random_.between(5 * kMillisecond, 40 * kMillisecond), 0, [this] { client_step(); });
}

void World::client_retry() {
    for (const auto& [number, request] : outstanding_) send_request(number);
    after(500 * kMillisecond, 0, [this] { client_retry(); });
}

/// A switch carries a packet to whoever answers for the guest's address.
void World::send_request(uint64_t number) {
    Request request = outstanding_[number];
    for (Process* process : living()) {
        if (!replica::is_owner(process->replica().state())) continue;
        after(delay(), process->id(), [this, id = process->id(), number, request] {
            find(id)->request(number, request.sector, request.operation);
        });
    }
}

// --- Life and death ---

void World::kill(Process& process) {
    if (!process.alive()) return;
    ++counts_.crashes;
    say(process.id(), silent_death_ ? "HOST DIES" : "KILLED");
    if (silent_death_) cache_.erase(process.id());
    if (!silent_death_ && random_.chance(300)) process.say_last_words();
    if (!silent_death_ && random_.chance(700)) process.leave_orphans();
    if (!silent_death_ && process.channel() != 0) close_channel(process);
    process.die();
}

void World::stop(Process& process, Micros time) {
    if (!process.alive() || process.paused()) return;
    ++counts_.pauses;
    say(process.id(), "STOPPED");
    process.pause();
    after(time, 0, [this, id = process.id()] {
        say(id, "CONTINUED");
        find(id)->resume();
    });
}

void World::heal() {
    say(0, "all faults end");
    hooks_->quiet_ = true;
    cut_until_ = {now_, now_};
    datagram_loss_ = 0;
    extra_delay_ = 0;
    arbiter_back_.fill(now_);
    healed_ = true;
    backups_refused_ = false;
    for (auto& [id, process] : processes_) {
        process->die_after(0);
        process->pause_after(0, 0);
        process->set_replay_speed(1500);
        process->resume();
    }
}

bool World::expendable(const Process& victim) {
    State state = victim.replica().state();
    if (state == State::kPrimaryClaiming || state == State::kBackupClaiming || state == State::kGoingLive)
        return false;
    for (Process* other : living()) {
        if (other == &victim) continue;
        uint64_t term = other->replica().term().value();
        auto next = granted_.find(term + 1);
        bool entitled = next == granted_.end() || next->second == other->id();
        auto own = granted_.find(term);
        State s = other->replica().state();
        bool armed = s == State::kReplaying || s == State::kBackupClaiming || s == State::kGoingLive;
        bool guards = armed && !dismissed_.contains(other->id()) &&
                      other->replica().status(0).peer == victim.id() &&
                      victim.replica().term().value() == term;
        bool owns = replica::is_owner(s) && own != granted_.end() && replica::is_backup(state);
        if (entitled && (guards || owns)) return true;
    }
    return false;
}

Process* World::the_owner() {
    Process* owner = nullptr;
    for (Process* process : living())
        if (replica::is_owner(process->replica().state()) &&
            (!owner || process->replica().term() > owner->replica().term()))
            owner = process;
    return owner;
}

bool World::settled() {
    Process* owner = the_owner();
    if (power_off_expected_ && powered_off_) return living().empty();
    if (!owner || owner->replica().state() != State::kProtected || !outstanding_.empty() || !owner->idle())
        return false;
    for (const auto& [id, cache] : cache_)
        if (!cache.empty()) return false;
    Process* backup = find(owner->replica().status(0).peer);
    return backup && backup->alive() && backup->replica().state() == State::kReplaying;
}

void World::finish() {
    if (checker_.failed()) return;
    Process* owner = nullptr;
    for (auto& [id, process] : processes_) {
        if (!process->session().replica()) continue;  // a start that was refused
        auto granted = granted_.find(process->replica().term().value());
        bool owned = granted != granted_.end() && granted->second == id;
        if (owned && (!owner || process->replica().term() > owner->replica().term())) owner = process.get();
    }
    if (!owner) return checker_.fail("one owner", "no process is in the term that it owns");
    bool has_it_all =
        owner->replica().state() != State::kGoingLive;  // or it died before it had executed the log
    if (has_it_all) checker_.finish_history(owner->history());
    if (owner->alive() && settled()) checker_.finish_state(owner->machine(), disk_);
    for (Process* other : living())
        if (other != owner && replica::is_owner(other->replica().state()) && other->may_act())
            checker_.fail("one owner",
                          fmt::format("processes {} and {} both act in the end", owner->id(), other->id()));
    if (settled() || (loss_allowed_ && power_off_expected_)) return;  // nobody starts it again then
    checker_.fail(
        "redundancy",
        fmt::format("long after the last fault the guest doesn't run protected and answer: its last owner is "
                    "process {} ({}), {} requests are unanswered",
                    owner->id(), replica::name_of(owner->replica().state()), outstanding_.size()));
}

}  // namespace lockstep::sim
