// SPDX-License-Identifier: Apache-2.0
// Time, messages and decisions: what both sides have in common.
#include "replica/replica.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace lockstep::replica {

Replica::Replica(Config config, Hooks* hooks) : config_(std::move(config)), hooks_(hooks) {
    bool named = config_.vm != 0 && config_.self != 0 && !config_.host.empty();
    CHECK(named, "a replica needs the names of its VM, of itself and of its host");
    std::optional<Error> why = config_.timing.invalid();
    CHECK(!why, "{}", why->message());
}

Replica Replica::solo(Config config, Term term, LogPos position, Hooks* hooks, uint64_t leased_from_ms) {
    Replica replica(std::move(config), hooks);
    replica.state_ = State::kSolo;
    replica.term_ = term;
    replica.primary_.appended = position;
    replica.leased_from_ms_ = leased_from_ms;
    replica.why_ = replica.config_.policy == Policy::kProtect ? "it has started, and a backup is being sought"
                                                              : "it was started without a backup";
    return replica;
}

Replica Replica::backup(Config config, Hooks* hooks) {
    Replica replica(std::move(config), hooks);
    replica.state_ = State::kJoining;
    replica.why_ = "started";
    return replica;
}

std::vector<Action> Replica::take_actions() { return std::exchange(actions_, {}); }

void Replica::say(LogLevel level, std::string sentence) {
    actions_.push_back(Say{level, std::move(sentence)});
}

// --- Time ---

/// Moves the clock. A jump means that this process was stopped: what the other side sent meanwhile may still
/// wait in the sockets, so the time is not counted as its silence. The lease is not prolonged.
void Replica::advance(uint64_t now_ms) {
    if (now_ms <= now_ms_) return;
    if (now_ms_ == 0) peer_.heard_ms = now_ms;
    uint64_t gap = now_ms - now_ms_;
    if (now_ms_ != 0 && gap > 3 * config_.timing.heartbeat_ms) {
        peer_.heard_ms = std::min(now_ms, peer_.heard_ms + gap);
        awake_ms_ = now_ms;
    }
    now_ms_ = now_ms;
}

void Replica::on_time(uint64_t now_ms) {
    advance(now_ms);
    if (is_over(state_)) return;
    watch_peer();
    watch_tenure();
    if (claim_at_ms_ != 0 && now_ms_ >= claim_at_ms_) claim();
    if (is_owner(state_))
        primary_time();
    else if (is_backup(state_))
        backup_time();
}

/// Sends the heartbeats, and notices when the other side's stop.
void Replica::watch_peer() {
    bool claiming =
        state_ == State::kPrimaryClaiming || state_ == State::kBackupClaiming || state_ == State::kGoingLive;
    if (claiming && !(planted(PlantedBug::kEchoOnClaim) && is_backup(state_))) return;
    if (peer_.id != 0 && now_ms_ - peer_.beat_ms >= config_.timing.heartbeat_ms) send_beat();
    if (claiming || state_ == State::kSolo) return;

    uint64_t bound = armed() ? config_.timing.failure_ms : config_.timing.synchronise_ms;
    if (armed() && strikes(FaultPoint::kEarlySuspicion)) bound /= 2;
    bool silent = now_ms_ - peer_.heard_ms >= bound;
    bool lost = peer_.lost_ms != 0 && now_ms_ - peer_.lost_ms >= bound;
    if (silent || lost)
        trigger(Trigger::kPeerSilent,
                fmt::format("nothing was heard of the other side for {} ms", now_ms_ - peer_.heard_ms));
    watch_lease();
}

bool Replica::lease_holds(uint64_t now_ms) const {
    return peer_.echoed_ms != 0 && now_ms < peer_.echoed_ms + config_.timing.lease_ms;
}

/// Whether the other side answers so quickly that the lease will hold when outputs wait for it.
bool Replica::lease_has_room() const {
    return peer_.echoed_ms != 0 && now_ms_ < peer_.echoed_ms + config_.timing.lease_ms / 2;
}

/// A round trip longer than the lease, or a link that carries nothing towards the other side: what is heard
/// of the other side renews nothing. The outage of that is bounded like any other.
void Replica::watch_lease() {
    if (!paired() || planted(PlantedBug::kFreeze)) return;
    uint64_t since = std::max(peer_.leased_ms, awake_ms_);
    if (now_ms_ < since + config_.timing.failure_ms) return;
    trigger(
        Trigger::kLeaseLost,
        fmt::format("the backup is heard, but no output could leave for {} ms: its newest answer is to what "
                    "was sent {} ms ago, and the lease is {} ms",
                    now_ms_ - since, now_ms_ - peer_.echoed_ms, config_.timing.lease_ms));
}

// --- The term's lease at the arbiter ---

bool Replica::tenure_holds(uint64_t now_ms) const {
    if (config_.tenure == Tenure::kUnlimited || planted(PlantedBug::kNoTermLease)) return true;
    return leased_from_ms_ != 0 && now_ms < leased_from_ms_ + config_.timing.term_lease_ms;
}

/// An owner renews its term, so that a start by hand elsewhere sees that it has one. While the guest is offered to
/// the backup the newer term is claimed as this side wanted it.
void Replica::watch_tenure() {
    bool owner = is_owner(state_) && state_ != State::kPrimaryClaiming && !primary_.offered;
    if (config_.tenure == Tenure::kUnlimited || !(owner || state_ == State::kGoingLive)) return;
    HostPair hosts = hosts_to_tell();
    // A backup that is complete waits to be told of.
    bool news = !hosts.empty() && hosts != told_;
    uint64_t pause_ms = news ? config_.timing.claim_retry_ms : config_.timing.renew_ms;
    if (news && hosts != telling_) pause_ms = 0;
    if (!renewing_ && (renewed_ms_ == 0 || now_ms_ >= renewed_ms_ + pause_ms)) {
        renewing_ = true;
        renewed_ms_ = now_ms_;
        // What it says may stand there at once, or late: whatever becomes of it.
        if (hosts != told_) told_ = {};
        telling_ = hosts;
        actions_.push_back(RenewTerm{term_, std::move(hosts)});
    }
    bool alone = state_ == State::kSolo || state_ == State::kSynchronising;
    if (!alone || leased_from_ms_ == 0 || tenure_holds(now_ms_) || std::exchange(tenure_over_, true)) return;
    why_ = fmt::format(
        "outputs wait: term {} could not be renewed at the arbiter for {} ms, so that somebody else "
        "may have started this VM",
        term_.value(), now_ms_ - leased_from_ms_);
    say(LogLevel::kWarning, why_);
}

/// An unchanged lease of a pair that doesn't reach the arbiter proves nothing, so a start elsewhere must know of the
/// pair before its owner relies on the backup.
HostPair Replica::hosts_to_tell() const {
    bool relied_upon = paired() || (state_ == State::kSynchronising && primary_.loaded);
    if (!relied_upon || planted(PlantedBug::kPairUntold)) return {};
    return {config_.host, peer_.host};
}

bool Replica::hosts_are_told() const {
    return config_.tenure == Tenure::kUnlimited || told_ == hosts_to_tell();
}

void Replica::on_renewed(uint64_t now_ms, Term term, Renewal answer, const std::string& detail) {
    advance(now_ms);
    renewing_ = false;
    if (is_over(state_) || term != term_ || primary_.offered) return;
    if (answer == Renewal::kSuperseded && !planted(PlantedBug::kIgnoreNewerTerm))
        return trigger(Trigger::kSuperseded, detail);
    if (answer == Renewal::kUnreachable) return;
    leased_from_ms_ = std::max(leased_from_ms_, renewed_ms_);
    told_ = telling_;
    if (state_ != State::kSolo && state_ != State::kSynchronising) return;
    if (std::exchange(tenure_over_, false)) {
        why_ = fmt::format("term {} is renewed at the arbiter again", term_.value());
        say(LogLevel::kInfo, why_);
    }
    actions_.push_back(ReleaseOutputs{primary_.appended});
    if (primary_.guest_off) guest_is_off();
}

// --- Messages ---

Header Replica::next_header() const {
    Header header;
    header.vm = config_.vm;
    header.term = term_;
    header.sender = config_.self;
    header.receiver = peer_.id;
    header.sent_ms = now_ms_;
    header.echo_ms = peer_.newest_stamp;
    return header;
}

std::optional<Bytes> Replica::last_words() const {
    if (!paired()) return std::nullopt;
    return encode(next_header(), Crashed{});
}

void Replica::send(Message message) {
    Header header = next_header();
    Carrier carrier = info_of(message).carrier;
    Pieces pieces = encode_in_pieces(header, std::move(message));
    if (carrier == Carrier::kDatagram)
        actions_.push_back(SendDatagram{pieces.take_joined()});
    else if (peer_.connected)
        actions_.push_back(SendChannel{std::move(pieces)});
}

void Replica::send_beat() {
    peer_.beat_ms = now_ms_;
    if (strikes(FaultPoint::kSkipHeartbeat)) return;
    if (is_owner(state_))
        send(PrimaryBeat{primary_.appended, primary_.complete, primary_.left_before});
    else
        send(BackupBeat{backup_.received, backup_.replayed, backup_.icount, links_lost_});
}

void Replica::on_channel_message(uint64_t now_ms, ByteSpan bytes) {
    advance(now_ms);
    if (is_over(state_) || !peer_.connected) return;
    Result<Envelope> envelope = decode(bytes);
    if (!envelope) {
        say(LogLevel::kError, envelope.error().message());
        close_channel();
        return trigger(Trigger::kChannelBroken, envelope.error().message());
    }
    receive(envelope.value().header, std::move(envelope.value().message));
}

void Replica::on_datagram(uint64_t now_ms, ByteSpan bytes) {
    advance(now_ms);
    if (is_over(state_)) return;
    Result<Envelope> envelope = decode(bytes);
    if (!envelope || info_of(envelope.value().message).carrier != Carrier::kDatagram) return;
    if (auto* orphans = std::get_if<Orphans>(&envelope.value().message))
        return take_in(envelope.value().header, *orphans);
    if (peer_.id == 0) return;
    receive(envelope.value().header, std::move(envelope.value().message));
}

/// Whether a message is from this pair, for this process and of this term. Learns who the other side is.
bool Replica::admits(const Header& header, const Message& message) {
    if (header.vm != config_.vm) {
        say(LogLevel::kWarning, "a message for another VM came in and was thrown away");
        return false;
    }
    Direction here = is_owner(state_) ? Direction::kToPrimary : Direction::kToBackup;
    if (info_of(message).direction != here) return false;
    bool greeting = std::holds_alternative<Hello>(message);
    if (greeting && state_ == State::kJoining && peer_.id == 0) {
        peer_.id = header.sender;
        term_ = header.term;
        return true;
    }
    bool answer = std::holds_alternative<Welcome>(message) || std::holds_alternative<Refuse>(message);
    if (answer && state_ == State::kSynchronising && peer_.id == 0 && header.term == term_)
        peer_.id = header.sender;
    if (header.sender != peer_.id || header.receiver != config_.self) return false;
    if (header.term > term_) {
        bool live = std::holds_alternative<Live>(message);
        trigger(live ? Trigger::kPeerLive : Trigger::kNewerTerm,
                fmt::format("the other side is in term {}, this side in term {}", header.term.value(),
                            term_.value()));
        return false;
    }
    return header.term == term_;
}

void Replica::receive(const Header& header, Message message) {
    if (!admits(header, message)) return;
    if (armed()) peer_.longest_silence_ms = std::max(peer_.longest_silence_ms, now_ms_ - peer_.heard_ms);
    peer_.heard_ms = now_ms_;
    if (header.sent_ms > peer_.newest_stamp) {
        peer_.newest_stamp = header.sent_ms;
        peer_.newest_stamp_at = now_ms_;
    }
    peer_.echoed_ms = std::max(peer_.echoed_ms, std::min(header.echo_ms, now_ms_));
    if (lease_holds(now_ms_)) peer_.leased_ms = peer_.echoed_ms + config_.timing.lease_ms;
    std::visit([this](auto& m) { handle(m); }, message);
}

void Replica::on_channel_closed(uint64_t now_ms, ChannelEnd end) {
    advance(now_ms);
    if (is_over(state_) || !peer_.connected) return;
    peer_.connected = false;
    bool closed = end == ChannelEnd::kPeerClosed && config_.peer_close == PeerClose::kProvesEnd;
    trigger(closed ? Trigger::kPeerClosed : Trigger::kChannelBroken);
}

void Replica::close_channel() {
    if (peer_.connected) actions_.push_back(CloseChannel{});
    peer_.connected = false;
}

// --- Decisions ---

void Replica::enter(State state, std::string why) {
    say(LogLevel::kInfo,
        fmt::format("{} -> {} in term {}: {}", name_of(state_), name_of(state), term_.value(), why));
    state_ = state;
    why_ = std::move(why);
}

void Replica::trigger(Trigger found, std::string detail) {
    const Decision& decision = decide(state_, found);
    if (detail.empty()) detail = text_of(found);
    carry_out(decision, detail);
}

void Replica::carry_out(const Decision& decision, const std::string& detail) {
    std::string sentence = fmt::format("{} ({})", detail, decision.why);
    switch (decision.verdict) {
        case Verdict::kNothing:
            if (decision.trigger == Trigger::kUnfit) say(LogLevel::kError, sentence);
            return;
        case Verdict::kGoSolo:
            close_channel();
            return become_solo(term_, sentence);
        case Verdict::kClaim:
            if (is_backup(state_)) set_live_from(decision.trigger);
            if (is_owner(state_) && planted(PlantedBug::kSoloUnclaimed))
                return become_solo(term_ + 1, sentence);
            enter(is_owner(state_) ? State::kPrimaryClaiming : State::kBackupClaiming, sentence);
            claimed_ms_ = now_ms_;
            return claim();
        case Verdict::kClaimAgain:
            claim_at_ms_ = now_ms_ + config_.timing.claim_retry_ms;
            return;
        case Verdict::kTakeOver:
            send(StandDown{"the primary goes on without this backup"});
            close_channel();
            return become_solo(term_ + 1, sentence);
        case Verdict::kBeginLive:
            claim_at_ms_ = 0;
            term_ += 1;
            enter(State::kGoingLive, sentence);
            return check_ready();
        case Verdict::kGoLive:
            return go_live();
        case Verdict::kAwaitSilence:
            peer_.lost_ms = now_ms_;
            return;
        case Verdict::kEnd:
            enter(is_owner(state_) ? State::kEnding : State::kBackupEnding, sentence);
            return is_owner(state_) ? try_finish() : check_ready();
        case Verdict::kFinish:
            primary_.finished = is_owner(state_);
            if (is_owner(state_)) send(StandDown{"the guest is off"});
            return halt(HaltReason::kPoweredOff, "the guest is off");
        case Verdict::kHandedOver:
            return halt(HaltReason::kHandedOver, "the other side goes on with the guest, as it was told to");
        case Verdict::kLeave:
            return leave(leave_as_, detail);
        case Verdict::kHaltLost:
            return halt(HaltReason::kLost,
                        "the other side owns the guest: this side has stopped and lets nothing out");
    }
}

void Replica::claim() {
    claim_at_ms_ = 0;
    actions_.push_back(Claim{term_ + 1});
    if (strikes(FaultPoint::kRepeatClaim)) actions_.push_back(Claim{term_ + 1});
}

void Replica::on_arbiter(uint64_t now_ms, Term term, ArbiterAnswer answer) {
    advance(now_ms);
    bool claiming = state_ == State::kPrimaryClaiming || state_ == State::kBackupClaiming;
    if (!claiming || term != term_ + 1) return;
    if (state_ == State::kBackupClaiming && planted(PlantedBug::kIgnoreArbiter)) answer = ArbiterAnswer::kWon;
    switch (answer) {
        case ArbiterAnswer::kWon:
            // Whoever watches this term sees it for the first time later than it was asked for.
            leased_from_ms_ = claimed_ms_;
            return trigger(Trigger::kWon);
        case ArbiterAnswer::kLost:
            return trigger(Trigger::kLost);
        case ArbiterAnswer::kUnreachable:
            return trigger(Trigger::kUnreachable);
    }
}

/// The owner goes on without a backup: all that was held may leave, nothing slows the guest any more.
void Replica::become_solo(Term term, const std::string& why) {
    if (term != term_) told_ = telling_ = {};
    term_ = term;
    claim_at_ms_ = 0;
    enter(State::kSolo, why);
    peer_ = {};
    lag_ = {};
    primary_.pending = {};
    primary_.pending_count = 0;
    primary_.log_flows = primary_.loaded = primary_.vm_stopped = primary_.offered = false;
    actions_.push_back(ReleaseOutputs{primary_.appended});
    if (std::exchange(primary_.speed, LagControl::kFullSpeed) != LagControl::kFullSpeed)
        actions_.push_back(SetSpeed{LagControl::kFullSpeed});
    if (primary_.guest_off) return guest_is_off();
    if (std::exchange(primary_.holds, 0) != 0) actions_.push_back(StartVm{});
    primary_.ask_at_ms = std::max(primary_.ask_at_ms, now_ms_);
}

void Replica::halt(HaltReason reason, const std::string& sentence) {
    close_channel();
    enter(reason == HaltReason::kLost ? State::kHaltedLost : State::kStopped, sentence);
    claim_at_ms_ = 0;
    actions_.push_back(Halt{reason, sentence});
}

// --- What the caller asks ---

bool Replica::may_release(LogPos entry, uint64_t now_ms) const {
    switch (state_) {
        case State::kSolo:
        case State::kSynchronising:
            return tenure_holds(now_ms);
        case State::kProtected:
        case State::kEnding:
        case State::kHandingOver:
            if (planted(PlantedBug::kReleaseEarly)) return true;
            if (primary_.vm_stopped) return false;
            return entry < primary_.acknowledged && (lease_holds(now_ms) || planted(PlantedBug::kNoLease));
        case State::kStopped:
            return primary_.finished;
        default:
            return false;
    }
}

std::optional<uint64_t> Replica::due_ms() const {
    if (state_ == State::kGoingLive && now_ms_ < backup_.live_from_ms) return backup_.live_from_ms;
    if (now_ms_ < writes_from_ms_) return writes_from_ms_;
    return log_due_ms();
}

Status Replica::status(uint64_t now_ms) const {
    Status s;
    s.state = state_;
    s.term = term_;
    s.peer = peer_.id;
    s.why = why_;
    s.peer_links_lost = peer_.links_lost;
    uint64_t silence_ms = armed() && now_ms > peer_.heard_ms ? now_ms - peer_.heard_ms : 0;
    s.longest_silence_ms = std::max(peer_.longest_silence_ms, silence_ms);
    bool alone = state_ == State::kSolo || state_ == State::kSynchronising;
    s.may_act = alone || (paired() && lease_holds(now_ms) && !primary_.vm_stopped);
    if (is_owner(state_)) {
        s.appended = primary_.appended;
        s.acknowledged = primary_.acknowledged;
        s.replayed = lag_.replayed();
        // A backup that reports nothing any more falls further behind.
        uint64_t silence = now_ms > peer_.heard_ms ? now_ms - peer_.heard_ms : 0;
        bool reports = silence <= 2 * config_.timing.heartbeat_ms;
        s.lag_ms = lag_.lag_ms() + (peer_.id == 0 || reports ? 0 : silence);
        s.lag_icount = lag_.lag_icount();
        s.buffered_bytes = lag_.buffered_bytes();
        s.speed_permille = primary_.speed;
    } else {
        s.appended = s.acknowledged = backup_.received;
        s.replayed = backup_.replayed;
        s.lag_icount = backup_.complete > backup_.icount ? backup_.complete - backup_.icount : 0;
    }
    return s;
}

}  // namespace lockstep::replica
