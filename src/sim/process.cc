// SPDX-License-Identifier: Apache-2.0
#include "sim/process.h"

#include <algorithm>
#include <utility>

#include "record/payloads.h"
#include "sim/world.h"

namespace lockstep::sim {

using record::EntryKind;

namespace {
constexpr Micros kTick = 25 * kMillisecond;
constexpr uint64_t kNsPerMicro = 1000;
/// How long a message of a copy may lie in the channel until the kernel has it.
constexpr Micros kSlowestSend = 20 * kMillisecond;
}  // namespace

uint64_t HostClock::ns(Micros now) const {
    auto true_time = static_cast<int64_t>(now);
    auto time = static_cast<uint64_t>(true_time + true_time * rate_ppm / 1'000'000);
    return offset_ms * pair::kNsPerMs + time * kNsPerMicro;
}

Process::Process(World& world, uint64_t id, unsigned host, pair::Config config, const HostClock& clock)
    : world_(world),
      id_(id),
      host_(host),
      clock_(clock),
      caution_(config.caution),
      hooks_(*world.hooks(), *this),
      guest_(world, *this),
      outside_(world, *this),
      session_({.clock = *this,
                .guest = guest_,
                .link = *this,
                .outside = outside_,
                .arbiter = *this,
                .host = *this},
               std::move(config), &hooks_) {}

uint64_t Process::now_ns() const { return clock_.ns(world_.now()); }

void Process::own(Term term) {
    session_.own(term, 0);
    session_.on_made({});
    start_ticking();
}

void Process::start_by_hand() {
    by_hand_ = true;
    session_.prove();
    start_ticking();
}

void Process::back_up() {
    session_.back_up();
    start_ticking();
}

void Process::dispatch(std::function<void()> run) {
    if (!alive_) return;
    if (paused_)
        inbox_.push_back(std::move(run));
    else
        run();
}

void Process::resume() {
    if (!alive_ || !paused_) return;
    paused_ = false;
    awake_since_ns_ = now_ns();
    session_.go_on();
    while (alive_ && !paused_ && !inbox_.empty()) {
        std::function<void()> run = std::move(inbox_.front());
        inbox_.pop_front();
        run();
    }
}

void Process::start_ticking() {
    world_.after(kTick, id_, [this] {
        if (session_.replica()) note_owner();
        session_.on_time();
        if (session_.replica()) check_waits();
        if (alive_) start_ticking();
    });
}

/// A primary puts up with a backup that keeps its outputs waiting only for a while.
void Process::check_waits() {
    std::optional<uint64_t> since_ns = session_.gate()->oldest_ns();
    if (!alive_ || paused_ || !since_ns || replica().state() != replica::State::kProtected) return;
    uint64_t waits_ms = (now_ns() - std::max(*since_ns, awake_since_ns_)) / pair::kNsPerMs;
    if (waits_ms > world_.longest_wait() / kMillisecond)
        world_.checker().fail("no freeze",
                              fmt::format("process {} has held an output for {} ms", id_, waits_ms));
}

/// Before each action: whether this process doesn't live, or run, any more.
bool Process::stops() {
    if (!alive_ || paused_) return true;
    note_owner();
    if (replica::is_owner(replica().state())) owner_state_ = replica().state();
    held_ = session_.gate()->held();
    world_.note(id_, static_cast<uint64_t>(replica().state()));
    if (die_after_ != 0 && --die_after_ == 0 && world_.may_die(*this)) {
        world_.kill(*this);
        return true;
    }
    if (pause_after_ != 0 && --pause_after_ == 0) {
        world_.stop(*this, pause_time_);
        return true;
    }
    return false;
}

LogPos Process::held_entries() const {
    if (!replica::is_backup(replica().state())) return received();
    return std::max(received(), replica().status(0).appended);
}

bool Process::idle() const {
    return session_.gate()->held() == 0 && outside_.in_flight() == 0 && !guest_.has_inputs();
}

bool Process::needs_no_backup() const {
    using replica::State;
    State state = replica().state();
    if (state == State::kStopped)
        return owner_state_ == State::kSynchronising || replica().status(0).peer == 0;
    return state == State::kSolo || state == State::kSynchronising;
}

void Process::note_owner() {
    if (replica().state() != replica::State::kSolo || replica().term() <= noted_term_ || !may_act()) return;
    noted_term_ = replica().term();
    world_.owner(*this);
}

// --- Events of the host ---

void Process::channel_opened(uint64_t channel) {
    channel_ = channel;
    linked_ = true;
    queued_bytes_ = 0;
    session_.on_link_open();
}

void Process::channel_closed(uint64_t channel, replica::ChannelEnd end) {
    if (channel != channel_) return;
    channel_ = 0;
    session_.on_link_closed(end, "the channel has ended");
}

void Process::channel_message(uint64_t channel, const Bytes& bytes) {
    if (channel == channel_) session_.on_link_message(bytes);
}

void Process::request(uint64_t number, uint64_t sector, Operation operation) {
    if (outside_.lets_inputs_in())
        guest_.add_input(
            {EntryKind::kNetworkReceive, {}, {number, sector, static_cast<uint64_t>(operation)}});
}

void Process::power_off() {
    if (outside_.lets_inputs_in()) guest_.add_input({EntryKind::kPowerControl, {}, {}});
}

void Process::reset() {
    if (outside_.lets_inputs_in()) guest_.add_input({EntryKind::kPowerControl, {}, {1, 0, 0}});
}

void Process::hand_over() {
    if (session_.hand_over()) world_.say(id_, "hand-over");
}

void Process::set_policy(replica::Policy policy) {
    (void)(policy == replica::Policy::kProtect ? session_.protect() : session_.unprotect());
}

void Process::diverge() {
    world_.counts().diverged += session_.phase() == pair::Phase::kBackup;
    session_.on_divergence("a state hash differs", LogPos(history().size()), machine().icount(),
                           record::kMemoryDiffers);
}

void Process::say_last_words() {
    if (last_words_) send_datagram(*last_words_);
}

void Process::leave_orphans() {
    if (!last_words_) return;
    for (const ToyEntry& request : guest_.requests_from(outside_.acknowledged())) {
        Bytes packets;
        ByteWriter out(packets);
        request.encode(out);
        send_datagram(replica::encode_orphans(*last_words_, 0, std::move(packets)));
    }
}

// --- pair::Clock ---

void Process::wake(uint64_t at_ns) {
    uint64_t now = now_ns();
    Micros pause = at_ns > now ? (at_ns - now) / kNsPerMicro + 1 : 1;
    world_.after(pause, id_, [this] { session_.on_wake(); });
}

// --- pair::Link ---

void Process::send(const Pieces& message) {
    if (!alive_ || channel_ == 0) return;
    Bytes bytes = Pieces(message).take_joined();
    queued_bytes_ += bytes.size();
    world_.after(world_.random().between(0, kSlowestSend), id_,
                 [this, size = bytes.size(), channel = channel_] {
                     if (channel != channel_) return;
                     queued_bytes_ -= size;
                     if (queued_bytes_ == 0) session_.on_link_drained();
                 });
    world_.send_channel(*this, std::move(bytes));
}

void Process::send_datagram(ByteSpan datagram) {
    if (alive_ && linked_)
        world_.send_datagram(*this, replica().status(0).peer, Bytes(datagram.begin(), datagram.end()));
}

void Process::close() {
    if (alive_ && channel_ != 0) world_.close_channel(*this);
    channel_ = 0;
    linked_ = false;
}

// --- pair::Arbiter ---

void Process::look(Term term) {
    world_.look_at_term(host_, id_, term,
                        [this](const replica::TermView& view) { session_.on_looked(view); });
}

void Process::claim(Term term) {
    if (!alive_) return;
    world_.claim(id_, host_, id_, term, [this, term](replica::ArbiterAnswer answer) {
        session_.on_claimed(term, answer, "another process, or the arbiter is out of reach");
    });
}

void Process::renew(Term term, const std::optional<replica::HostPair>& hosts) {
    if (!alive_) return;
    world_.renew(id_, host_, id_, term, hosts, [this, term](replica::Renewal answer) {
        session_.on_renewed(term, answer, "another process has claimed a newer term");
    });
}

void Process::set_free(Term term) { world_.set_free(term); }

// --- pair::Host ---

void Process::ask_for_backup() { world_.ask_for_backup(*this); }

void Process::say(LogLevel, const std::string& sentence) { world_.say(id_, sentence); }

void Process::went_live() {
    if (std::exchange(by_hand_, false)) world_.begin_life(replica().term(), caution_);
}

void Process::ended(const pair::Ending& ending) {
    using Kind = pair::Ending::Kind;
    world_.say(id_, "ends: " + ending.sentence);
    alive_ = false;
    Counts& counts = world_.counts();
    counts.starts_refused += by_hand_;
    counts.lost += ending.kind == Kind::kLost;
    counts.handed_over += ending.kind == Kind::kHandedOver;
    counts.dismissed += ending.kind == Kind::kDismissed;
    counts.power_offs += ending.kind == Kind::kPoweredOff;
    if (ending.kind != Kind::kPoweredOff) return;
    if (held_ != 0) world_.checker().fail("nothing lost", "the guest went off with outputs still held");
    world_.powered_off();
}

}  // namespace lockstep::sim
