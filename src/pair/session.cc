// SPDX-License-Identifier: Apache-2.0
#include "pair/session.h"

#include <algorithm>

#include "base/check.h"
#include "record/wire_entry.h"

namespace lockstep::pair {

namespace {

/// How long the guest's networks must lead nowhere before it is handed over for it: a switch that starts
/// again, or a cable put elsewhere, is no reason.
constexpr uint64_t kLinkLossNs = 2000 * kNsPerMs;

/// When a copy is asked again for the page that the guest is about to give.
constexpr uint64_t kAgainNs = 100'000;
/// Of a copy whose pace is bounded: what may go at once after a pause.
constexpr uint64_t kBurstNs = 5 * kNsPerMs;

}  // namespace

Session::Session(const Ports& ports, Config config, replica::Hooks* hooks)
    : ports_(ports),
      config_(std::move(config)),
      hooks_(hooks),
      standstill_(ports.guest, ports.outside),
      clone_out_(ports.guest, hooks) {}

// --- How it begins ---

void Session::prove() {
    CHECK(phase_ == Phase::kNew);
    phase_ = Phase::kProving;
    if (config_.caution == replica::Caution::kForce)
        say(LogLevel::kWarning,
            "it is started by force: if it still runs elsewhere, both guests write to its disks until the "
            "other finds that its term is over, and what they write then destroys the file systems");
    starter_.emplace(config_.replica.vm_name, config_.replica.host, config_.replica.timing, config_.caution,
                     hooks_);
    on_time();
}

void Session::own(Term term, uint64_t leased_from_ms) {
    CHECK(phase_ == Phase::kNew || phase_ == Phase::kProving);
    phase_ = Phase::kMaking;
    won_ = term;
    leased_from_ms_ = leased_from_ms;
    ports_.guest.make(config_.machine, MadeFor::kPowerOn);
}

void Session::back_up() {
    CHECK(phase_ == Phase::kNew);
    phase_ = Phase::kBackup;
    make_replica(replica::Replica::backup(config_.replica, hooks_));
}

void Session::make_replica(replica::Replica replica) {
    replica_.emplace(std::move(replica));
    gate_.emplace(*replica_, ports_.clock, ports_.outside);
}

/// An owner's guest starts.
void Session::go() {
    phase_ = Phase::kLive;
    make_replica(replica::Replica::solo(config_.replica, won_, LogPos(0), hooks_, leased_from_ms_));
    uint64_t now_ns = ports_.clock.now_ns();
    live_since_ns_ = now_ns;
    ports_.outside.let_inputs_in();
    // The real-time clock is of the moment of the configuration; what has passed since counts as guest time.
    ports_.guest.go_live(LogPos(0), now_ns - config_.configured_ns);
    say(LogLevel::kInfo, "it runs, in term {}", won_.value());
    ports_.host.went_live();
    on_time();
}

void Session::end(Ending::Kind kind, const std::string& sentence) {
    if (phase_ == Phase::kOver) return;
    phase_ = Phase::kOver;
    clone_out_.stop();
    ports_.outside.stop();
    bool failed_start = kind == Ending::Kind::kFailed && won_ != Term(0) && !live_since_ns_;
    // An owner that has lost its term is done, too, as its backup is: whoever has the newer one may wait for that.
    bool done = kind == Ending::Kind::kPoweredOff || kind == Ending::Kind::kLost;
    if (live_since_ns_ && done) ports_.arbiter.set_free(replica_->term());
    if (failed_start) ports_.arbiter.set_free(won_);
    ports_.host.ended({kind, sentence});
}

// --- Time ---

uint64_t Session::period_ms() const {
    const replica::Timing& timing = config_.replica.timing;
    return std::max<uint64_t>(phase_ == Phase::kProving ? timing.look_ms / 4 : timing.heartbeat_ms / 2, 1);
}

void Session::on_time() {
    if (!heeds(Event::kTime)) return;
    if (phase_ == Phase::kProving) {
        starter_->on_time(now_ms());
        return act_start();
    }
    std::optional<uint64_t> held_ns = gate_->oldest_ns();
    replica_->set_held_since(held_ns ? std::optional(*held_ns / kNsPerMs) : std::nullopt);
    replica_->on_time(now_ms());
    act();
}

void Session::on_wake() {
    wake_ns_.reset();
    if (!heeds(Event::kWake)) return;
    uint64_t now_ns = ports_.clock.now_ns();
    if (clone_ns_ && *clone_ns_ <= now_ns) {
        clone_ns_.reset();
        send_clone();
        std::optional<uint64_t> due_ms = replica_->due_ms();
        if (!due_ms || *due_ms * kNsPerMs > now_ns) return wake_when_due();
    }
    if (phase_ == Phase::kOff) return go_on_off();
    on_time();
    on_batch_end(replica::Flush::kIfDue);
}

/// Of a guest that is off: a wake-up may have been asked for before that, and earlier than a dead primary's writes have
/// ended. This guest's last ones wait for that, and nothing else brings them to mind.
void Session::go_on_off() {
    replica_->on_time(now_ms());
    ports_.outside.issue_kept();
    wake_when_due();
}

/// What is due comes in time, though nothing more may happen until then.
void Session::wake_when_due() {
    std::optional<uint64_t> due_ns = clone_ns_;
    if (std::optional<uint64_t> due_ms = replica_->due_ms())
        due_ns = std::min(due_ns.value_or(~uint64_t{0}), *due_ms * kNsPerMs);
    if (!due_ns || (wake_ns_ && *wake_ns_ <= *due_ns)) return;
    wake_ns_ = due_ns;
    ports_.clock.wake(*due_ns);
}

// --- The link ---

void Session::on_link_open() {
    if (!heeds(Event::kLinkOpen)) return;
    replica_->on_channel_open(now_ms());
    act();
}

/// The datagrams go on: their echoes may still matter. The link goes when the replica wants another, or none.
void Session::on_link_closed(replica::ChannelEnd end, const std::string& why) {
    if (!heeds(Event::kLinkClosed)) return;
    say(LogLevel::kInfo, "{}", why);
    clone_out_.stop();
    replica_->on_channel_closed(now_ms(), end);
    act();
}

void Session::on_link_message(ByteSpan message) {
    if (!heeds(Event::kLinkMessage)) return;
    last_message_ns_ = ports_.clock.now_ns();
    replica_->on_channel_message(now_ms(), message);
    act();
}

void Session::on_link_datagram(ByteSpan datagram) {
    if (!heeds(Event::kLinkDatagram)) return;
    replica_->on_datagram(now_ms(), datagram);
    act();
}

void Session::on_link_drained() {
    if (heeds(Event::kLinkDrained)) send_clone();
}

void Session::close_link() {
    clone_out_.stop();
    ports_.link.close();
}

/// What they are depends on term and peer, and a state follows each.
void Session::keep_last_words() {
    std::pair now{replica_->state(), replica_->term()};
    if (std::exchange(words_are_for_, now) != now) ports_.link.keep_last_words(replica_->last_words());
}

// --- The arbiter ---

void Session::on_looked(const replica::TermView& view) {
    if (!heeds(Event::kLooked)) return;
    starter_->on_look(now_ms(), view);
    act_start();
}

void Session::on_claimed(Term term, replica::ArbiterAnswer answer, const std::string& detail) {
    if (!heeds(Event::kClaimed)) return;
    if (phase_ == Phase::kProving) {
        starter_->on_arbiter(now_ms(), answer, detail);
        return act_start();
    }
    if (answer == replica::ArbiterAnswer::kUnreachable) say(LogLevel::kWarning, "{}", detail);
    replica_->on_arbiter(now_ms(), term, answer);
    act();
}

void Session::on_renewed(Term term, replica::Renewal answer, const std::string& detail) {
    if (!heeds(Event::kRenewed)) return;
    if (phase_ == Phase::kProving) {
        starter_->on_renewed(now_ms(), answer, detail);
        return act_start();
    }
    replica_->on_renewed(now_ms(), term, answer, detail);
    act();
}

// --- The outside ---

void Session::on_drained() {
    if (!heeds(Event::kDrained)) return;
    if (phase_ == Phase::kOff) return end(Ending::Kind::kPoweredOff, last_sentence_);
    standstill_.on_drained();
}

void Session::on_links(uint8_t lost) {
    if (!heeds(Event::kLinks)) return;
    replica_->set_links_lost(lost);
    if (lost == 0) links_lost_ns_ = 0;
    if (lost == 0 || config_.link_loss == LinkLoss::kStay) return;
    uint64_t now_ns = ports_.clock.now_ns();
    if (links_lost_ns_ == 0) links_lost_ns_ = now_ns;
    replica::Status status = replica_->status(now_ms());
    bool better_there = status.state == replica::State::kProtected && status.peer_links_lost < lost;
    if (!better_there || now_ns - links_lost_ns_ < kLinkLossNs) return;
    links_lost_ns_ = now_ns;
    say(LogLevel::kWarning, "it is handed over, because its networks are better on the other side");
    if (Result<void> done = hand_over(); !done) say(LogLevel::kWarning, "{}", done.error().message());
}

bool Session::may_write(LogPos entry) const { return replica_ && replica_->may_write(entry, now_ms()); }

void Session::set_round_trip(uint64_t ns) {
    if (gate_) gate_->set_round_trip(ns);
}

// --- The guest ---

void Session::on_made(const Result<void>& made) {
    if (!heeds(Event::kMade)) return;
    if (phase_ == Phase::kMaking) return made ? go() : end(Ending::Kind::kFailed, made.error().message());
    if (!made) say(LogLevel::kError, "{}", made.error().message());
    replica_->on_made(now_ms(), made);
    act();
}

void Session::on_loaded(const Result<void>& loaded) {
    if (!heeds(Event::kLoaded)) return;
    if (!loaded) say(LogLevel::kError, "{}", loaded.error().message());
    replica_->on_loaded(now_ms(), loaded);
    act();
}

void Session::on_entry(LogPos position, const record::Entry& entry) {
    if (!heeds(Event::kEntry)) return;
    complete_ = entry.icount;
    Bytes encoded;
    if (replica_->wants_log()) {
        ByteWriter out(encoded);
        record::encode_wire_entry(out, entry);
    }
    replica_->on_entry(now_ms(), position, entry.kind, std::move(encoded));
    act();
}

void Session::on_output(LogPos position, uint64_t made_ns, bus::Output output) {
    if (!heeds(Event::kOutput)) return;
    bool packets = output.as<bus::Packets>();
    gate_->made(position, made_ns, std::move(output));
    if (packets && gate_->held() == 0) ports_.host.outputs_left();
    act();
}

void Session::on_progress(Icount icount) {
    if (heeds(Event::kProgress)) complete_ = icount;
}

void Session::on_batch_end(replica::Flush flush) {
    if (!heeds(Event::kBatchEnd)) return;
    replica_->on_flush(now_ms(), complete_, flush);
    act();
    wake_when_due();
}

void Session::on_guest_off() {
    if (!heeds(Event::kGuestOff)) return;
    replica_->on_guest_off(now_ms());
    act();
}

void Session::on_unanswered(const std::vector<bus::Output>& requests) {
    if (!heeds(Event::kUnanswered)) return;
    // Their entries were consumed before: whoever has won the guest may do what they say.
    for (const bus::Output& request : requests) ports_.outside.submit(request, LogPos(0));
}

void Session::on_paused(uint64_t number, Icount icount) {
    if (heeds(Event::kPaused)) standstill_.on_paused(number, icount);
}

void Session::on_settled(uint64_t number) {
    if (!heeds(Event::kSettled)) return;
    std::optional<Icount> stands = standstill_.on_settled(number);
    if (!stands) return;
    replica_->on_vm_stopped(now_ms(), *stands);
    act();
}

// --- Its copy ---

void Session::on_round(uint64_t number) {
    if (heeds(Event::kRound) && clone_out_.on_round(number)) send_clone();
}

void Session::on_cut(uint64_t number, Icount icount, Bytes state) {
    if (!heeds(Event::kCut)) return;
    size_t state_bytes = state.size();
    if (!clone_out_.on_cut(number, std::move(state))) return;
    replica_->on_clone_cut(now_ms(), icount, state_bytes);
    act();
    send_clone();
}

/// One piece: what else has come meanwhile is seen to before the next. Where the link doesn't take more now,
/// on_link_drained() goes on.
void Session::send_clone() {
    if (!clone_out_.gives() || !ports_.link.is_open()) return;
    if (ports_.link.queued_bytes() > config_.clone_pace.ahead) return;
    uint64_t now_ns = ports_.clock.now_ns();
    if (now_ns < paced_ns_) return send_clone_again(paced_ns_);
    CloneOut::Step step = clone_out_.next(config_.clone_pace.piece);
    switch (step.what) {
        case CloneOut::Step::What::kWait:
            return;
        case CloneOut::Step::What::kAgain:
            return send_clone_again(now_ns + kAgainNs);
        case CloneOut::Step::What::kVoid:
            clone_out_.stop();
            replica_->on_clone_void(
                now_ms(), "the guest was reset while it was copied, or waited too long for the link");
            return act();
        case CloneOut::Step::What::kSend:
            break;
    }
    size_t bytes = step.bytes.size();
    bool ends = step.part == replica::ClonePart::kEnd;
    replica_->on_clone_piece(now_ms(), step.part, std::move(step.bytes));
    act();
    pace_clone(bytes, now_ns);
    if (ends)
        say(LogLevel::kInfo, "a copy of the guest has been sent: {} MiB in {} rounds and {} ms",
            clone_out_.given_bytes() >> 20, clone_out_.round(), (now_ns - clone_began_ns_) / kNsPerMs);
    send_clone_again(paced_ns_);
}

/// When the next piece may leave, one of so many bytes having been taken and sent since `began_ns`.
void Session::pace_clone(size_t bytes, uint64_t began_ns) {
    const ClonePace& pace = config_.clone_pace;
    uint64_t now_ns = ports_.clock.now_ns();
    uint64_t rested_ns = now_ns + (now_ns - began_ns) * pace.rest_percent / 100;
    if (pace.bytes_per_second)
        paced_ns_ = std::max(paced_ns_, began_ns - kBurstNs) + bytes * kNsPerSecond / pace.bytes_per_second;
    paced_ns_ = std::max(paced_ns_, rested_ns);
}

void Session::send_clone_again(uint64_t at_ns) {
    if (!clone_out_.gives()) return;
    clone_ns_ = at_ns;
    wake_when_due();
}

void Session::on_care_over() {
    if (!heeds(Event::kCareOver)) return;
    careful_ = false;
    say(LogLevel::kInfo, "the engine has its optimisations again");
}

void Session::on_replayed(LogPos position, Icount icount) {
    if (!heeds(Event::kReplayed)) return;
    complete_ = icount;
    replica_->on_replayed(now_ms(), position, icount);
    act();
}

void Session::on_replayed_output(LogPos position, bus::Output output) {
    if (!heeds(Event::kReplayedOutput)) return;
    ports_.outside.show(output);
    if (output.as<bus::Packets>()) recent_packets_.add(position, std::move(output));
}

void Session::on_divergence(const std::string& sentence, LogPos position, Icount icount, uint8_t parts) {
    if (!heeds(Event::kDivergence)) return;
    say(LogLevel::kError, "{}", sentence);
    replica_->on_divergence(now_ms(), position, icount, parts);
    act();
}

// --- The operator ---

Result<void> Session::protect() {
    TRY(replica_->set_policy(now_ms(), replica::Policy::kProtect));
    on_time();
    return {};
}

Result<void> Session::unprotect() {
    TRY(replica_->set_policy(now_ms(), replica::Policy::kAlone));
    act();
    return {};
}

Result<void> Session::hand_over() {
    TRY(replica_->hand_over(now_ms()));
    act();
    return {};
}

}  // namespace lockstep::pair
