// SPDX-License-Identifier: Apache-2.0
// The simulated world: time, network, shared disk, arbiter, a client, and the processes in it.
//
// Everything that happens follows from the seed. The world knows nothing of how a replica works; it carries
// bytes and answers, breaks things when it is told to (faults.h), and shows the checkers what happens.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "replica/starter.h"
#include "sim/checker.h"
#include "sim/event_queue.h"
#include "sim/process.h"
#include "sim/random.h"

namespace lockstep::sim {

struct WorldOptions {
    uint64_t seed = 1;
    std::optional<replica::PlantedBug> plant;
    std::function<void(const std::string&)> trace;  ///< receives a line for each thing that happens
};

// What is counted in a run, for statistics and for the test that the simulation reaches everything.
// LOCKSTEP_SIM_COUNT(name, "what is counted")
// clang-format off
#define LOCKSTEP_SIM_COUNTS(LOCKSTEP_SIM_COUNT)                                          \
    LOCKSTEP_SIM_COUNT(events,       "events")                                           \
    LOCKSTEP_SIM_COUNT(requests,     "requests of the client")                           \
    LOCKSTEP_SIM_COUNT(answers,      "answered")                                         \
    LOCKSTEP_SIM_COUNT(crashes,      "processes and hosts killed")                       \
    LOCKSTEP_SIM_COUNT(pauses,       "processes stopped for a while")                    \
    LOCKSTEP_SIM_COUNT(backups,      "backups started")                                  \
    LOCKSTEP_SIM_COUNT(fail_overs,   "backups gone live")                                \
    LOCKSTEP_SIM_COUNT(take_overs,   "primaries gone on alone after a claim")            \
    LOCKSTEP_SIM_COUNT(unreachable,  "claims that found the arbiter out of reach")       \
    LOCKSTEP_SIM_COUNT(lost,         "processes halted because the other side won")      \
    LOCKSTEP_SIM_COUNT(handed_over,  "hand-overs")                                       \
    LOCKSTEP_SIM_COUNT(diverged,     "backups halted because they had diverged")         \
    LOCKSTEP_SIM_COUNT(dismissed,    "backups dismissed")                                \
    LOCKSTEP_SIM_COUNT(power_offs,   "processes that ended because the guest was off")   \
    LOCKSTEP_SIM_COUNT(slow_downs,   "changes of the guest's speed")                     \
    LOCKSTEP_SIM_COUNT(starts,       "starts by hand")                                   \
    LOCKSTEP_SIM_COUNT(starts_refused, "of them given up")                               \
    LOCKSTEP_SIM_COUNT(lives,        "guests started by hand")                           \
    LOCKSTEP_SIM_COUNT(superseded,   "owners that found a newer term")                   \
    LOCKSTEP_SIM_COUNT(left,         "packets that a side gone live knew to have left")  \
    LOCKSTEP_SIM_COUNT(sent_again,   "packets sent again by a side gone live")           \
    LOCKSTEP_SIM_COUNT(orphans,      "requests let in that a dead primary had left")      \
    LOCKSTEP_SIM_COUNT(full_buffers, "stops because the backup's buffer was full")       \
    LOCKSTEP_SIM_COUNT(kept_writes,  "writes that the last look kept back")              \
    LOCKSTEP_SIM_COUNT(copies,       "copies of a running guest begun")                  \
    LOCKSTEP_SIM_COUNT(rounds,       "further rounds of their pages")                    \
    LOCKSTEP_SIM_COUNT(cuts,         "cuts")                                             \
    LOCKSTEP_SIM_COUNT(early_copies, "pages copied before their first write after a cut") \
    LOCKSTEP_SIM_COUNT(void_copies,  "copies given up because the guest was reset")      \
    LOCKSTEP_SIM_COUNT(disk_waits,   "disk requests that waited for others or for room")  \
    LOCKSTEP_SIM_COUNT(careful,      "guests taken over from a process that a signal of its own ended")
// clang-format on

struct Counts {
#define LOCKSTEP_SIM_COUNT(name, text) uint64_t name = 0;
    LOCKSTEP_SIM_COUNTS(LOCKSTEP_SIM_COUNT)
#undef LOCKSTEP_SIM_COUNT
    Counts& operator+=(const Counts& other);
    /// A line for each count.
    std::string text() const;
};

class World {
  public:
    static constexpr unsigned kMostHosts = 5;

    explicit World(const WorldOptions& options);
    ~World();

    Micros now() const { return now_; }
    Random& random() { return random_; }
    Checker& checker() { return checker_; }
    Counts& counts() { return counts_; }
    void after(Micros delay, uint64_t process, std::function<void()> run) {
        queue_.push(now_ + delay, process, std::move(run));
    }
    /// Runs until `until`, or until a checker fails.
    void run(Micros until);
    uint64_t trace_hash() const { return trace_hash_; }
    /// An output that waits for longer in a protected guest is frozen. The lease ends, and the primary must
    /// act within the failure bound; or the log isn't acknowledged.
    Micros longest_wait() const {
        return (std::max(timing_.lease_ms + timing_.failure_ms, timing_.ack_ms) + 100) * kMillisecond;
    }

    // --- What processes do ---

    void note(uint64_t what, uint64_t about) { trace_hash_ = mix(trace_hash_, mix(now_, what * 64 + about)); }
    void say(uint64_t process, const std::string& sentence);
    void send_channel(Process& from, Bytes bytes);
    void send_datagram(Process& from, uint64_t to, const Bytes& bytes);
    void close_channel(Process& from);
    /// The arbiter, for process `id` on `host`. The answer comes while process `to` runs (0: at any time).
    void claim(uint64_t id, unsigned host, uint64_t to, Term term,
               std::function<void(replica::ArbiterAnswer)> answer);
    void renew(uint64_t id, unsigned host, uint64_t to, Term term,
               const std::optional<replica::HostPair>& hosts, std::function<void(replica::Renewal)> answer);
    void look_at_term(unsigned host, uint64_t to, Term term,
                      std::function<void(const replica::TermView&)> answer);
    void set_free(Term term) { leases_[term.value()].free = true; }
    bool planted(replica::PlantedBug bug) const;
    /// The kernel of its host gets a disk request; `number` comes back with disk_done().
    void submit(Process& from, uint64_t number, const ToyOutput& output);
    void effect(Process& from, LogPos entry, const ToyOutput& output);
    void owner(Process& process);
    void ask_for_backup(Process& from);
    void powered_off() { powered_off_ = true; }
    const std::vector<ToyEntry>& history_of(uint64_t process) { return find(process)->history(); }

    // --- What operators do ---

    replica::Hooks* hooks();
    Process& start_by_hand(unsigned host, replica::Caution caution);
    /// Hosts that may run the VM, numbered from 0.
    unsigned hosts() const { return hosts_; }
    unsigned any_host() { return static_cast<unsigned>(random_.between(0, hosts_ - 1)); }
    /// A process of the VM is on this host, alive or stopped.
    bool runs_on(unsigned host);
    /// A host's daemon can be asked, and says that it runs the VM.
    bool says_that_it_runs(unsigned host);
    /// A start by hand has won the VM, in `term`, and its guest runs.
    void begin_life(Term term, replica::Caution caution);
    bool healed() const { return healed_; }
    bool power_off_expected() const { return power_off_expected_; }

    // --- What faults do ---

    void kill(Process& process);
    /// As SIGSTOP, and SIGCONT after `time`.
    void stop(Process& process, Micros time);
    /// Between all hosts, in one direction: from processes with a lower (0) or higher (1) number to the
    /// others.
    void cut(unsigned direction, Micros time);
    void lose_datagrams(uint64_t permille) { datagram_loss_ = permille; }
    void slow_network(Micros extra) { extra_delay_ = extra; }
    void break_channel(Process& process);
    void lose_arbiter(unsigned host, Micros time) { arbiter_back_[host] = now_ + time; }
    void no_new_backups(bool none) { backups_refused_ = none; }
    void stop_client() { client_stopped_ = true; }
    /// Nothing goes wrong any more.
    void heal();
    void expect_power_off() { power_off_expected_ = true; }
    /// The hosts of dead processes say nothing any more (power cut), or close their connections (killed
    /// process).
    void next_death_is_silent(bool silent) { silent_death_ = silent; }
    /// Whether the guest survives if this process dies now: somebody else is able and entitled to go on.
    bool expendable(const Process& process);
    /// The operator doesn't want this backup any more: it is no guard of its primary from here on.
    void dismissed(uint64_t process) { dismissed_.insert(process); }
    /// A process may die although it is the last: the run then says nothing about survival.
    void allow_loss() { loss_allowed_ = true; }
    bool may_die(const Process& process) { return loss_allowed_ || expendable(process); }

    Process* find(uint64_t id);
    /// The processes that have a replica.
    std::vector<Process*> living();
    /// The process that owns the guest for certain, or nobody.
    Process* the_owner();
    /// Everything is quiet: protected, all requests answered, or the guest is off.
    bool settled();
    /// The last checks of a run.
    void finish();

  private:
    struct Channel {
        std::array<uint64_t, 2> ends{};
        std::array<Micros, 2> arrival{};  ///< of the last bytes towards each end: a stream keeps its order
        bool dead = false;
    };
    class SimulatedHooks;

    Process& add_process(unsigned host, pair::Config config);
    HostClock any_clock();
    bool answers(unsigned host) const { return now_ >= arbiter_back_[host]; }
    Micros answer_time() { return random_.between(200, random_.chance(50) ? 300'000 : 2000); }
    bool others_may_act(uint64_t process);
    pair::Config next_config();
    Micros delay();
    Micros arrival_through(Channel& channel, uint64_t from, uint64_t to);
    void connect(uint64_t primary);
    void client_step();
    void client_retry();
    void send_request(uint64_t number);
    void apply(uint64_t process, Term term, uint64_t number, const ToyOutput& output);
    void write_back(uint64_t process, Term term, uint64_t sector);
    void store(uint64_t process, Term term, uint64_t sector, uint64_t value);

    WorldOptions options_;
    Random random_;
    replica::Timing timing_;
    std::unique_ptr<SimulatedHooks> hooks_;
    EventQueue queue_;
    Micros now_ = 0;
    Checker checker_;
    Counts counts_;
    uint64_t trace_hash_ = 0;

    std::map<uint64_t, std::unique_ptr<Process>> processes_;
    std::map<uint64_t, Channel> channels_;
    uint64_t next_process_ = 1, next_channel_ = 1;
    std::array<Micros, 2> cut_until_{};
    uint64_t datagram_loss_ = 0;
    Micros extra_delay_ = 0;
    std::map<uint64_t, uint64_t> granted_;  ///< the arbiter's memory: term to process
    struct Lease {
        uint64_t process = 0, count = 0;
        bool free = false;
        std::optional<replica::HostPair> hosts;
    };
    replica::HostPair find_pair(uint64_t term) const;
    std::map<uint64_t, Lease> leases_;  ///< by term
    std::array<Micros, kMostHosts> arbiter_back_{};
    unsigned hosts_ = 2;
    bool healed_ = false;
    std::array<uint64_t, kSectors> disk_{};  ///< on the shared storage
    /// Of each process's host: answered writes that aren't on the storage yet. Nothing is in it unless the
    /// bug is planted, since a shared disk passes it by.
    std::map<uint64_t, std::map<uint64_t, uint64_t>> cache_;
    std::set<uint64_t> dismissed_;
    bool backup_coming_ = false, backups_refused_ = false;
    bool silent_death_ = false, loss_allowed_ = false;
    bool powered_off_ = false, power_off_expected_ = false;

    struct Request {
        uint64_t sector;
        Operation operation;
    };
    std::map<uint64_t, Request> outstanding_;
    uint64_t next_request_ = 1;
    bool client_stopped_ = false;
};

}  // namespace lockstep::sim
