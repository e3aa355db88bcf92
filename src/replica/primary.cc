// SPDX-License-Identifier: Apache-2.0
// The owner's side: making a backup, the log, held outputs, lag control, power-off and hand-over.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "record/entry_codec.h"
#include "record/payloads.h"
#include "replica/replica.h"

namespace lockstep::replica {

namespace {
/// So many bytes of entries are sent without waiting for on_flush().
constexpr size_t kBatchBytes = 256u << 10;
/// A message holds less than that, and one entry more.
static_assert(kBatchBytes + record::kMaxPayload + (1u << 10) < kMaxMessageBytes);
/// A refusal is not gone in a second: so many times the usual pause before the next attempt.
constexpr uint64_t kRefusalPauses = 10;
}  // namespace

void Replica::primary_time() {
    const Timing& timing = config_.timing;
    if (state_ == State::kSolo) {
        bool wanted = config_.policy == Policy::kProtect && !primary_.guest_off && !peer_.connected;
        if (!wanted || now_ms_ < primary_.ask_at_ms) return;
        if (planted(PlantedBug::kNeverAsk) && term_ > Term(1)) return;
        primary_.ask_at_ms = now_ms_ + timing.ask_ms;
        actions_.push_back(AskForBackup{});
        return;
    }
    if (state_ == State::kSynchronising) {
        on_flush(now_ms_, primary_.complete);
        mind_the_buffer();
        try_protect();
    }
    if (!paired()) return;
    std::optional<uint64_t> since = lag_.unacknowledged_since();
    if (since && now_ms_ > std::max(*since, awake_ms_) + timing.ack_ms)
        return trigger(Trigger::kChannelBroken,
                       fmt::format("the backup has not acknowledged the log for {} ms", now_ms_ - *since));
    // Acknowledged late and with the lease over by then: neither wait is too long, but both together are.
    if (state_ == State::kProtected && held_since_ms_ && !planted(PlantedBug::kFreeze) &&
        now_ms_ > std::max(*held_since_ms_, awake_ms_) + timing.ack_ms)
        return trigger(Trigger::kChannelBroken, fmt::format("an output has waited for {} ms for the backup",
                                                            now_ms_ - *held_since_ms_));
    if (state_ == State::kHandingOver && now_ms_ >= primary_.hand_over_until_ms) {
        if (primary_.offered) return trigger(Trigger::kPeerSilent, "the backup did not take over in time");
        primary_.vm_stopped = false;
        enter(State::kProtected, "the hand-over was given up: the guest could not be stopped in time");
        unhold(StopReason::kHandOver);
    }
    on_flush(now_ms_, primary_.complete);
    apply_lag_control();
}

// --- Making a backup ---

void Replica::on_channel_open(uint64_t now_ms) {
    advance(now_ms);
    if (state_ == State::kJoining && !peer_.connected) {
        peer_.connected = true;
        peer_.heard_ms = now_ms_;
        return;
    }
    if (state_ != State::kSolo || config_.policy != Policy::kProtect || primary_.guest_off) {
        say(LogLevel::kWarning,
            fmt::format("a channel was opened that is of no use in the state {}", name_of(state_)));
        if (!peer_.connected) actions_.push_back(CloseChannel{});
        return;
    }
    peer_ = {};
    peer_.connected = true;
    peer_.heard_ms = now_ms_;
    enter(State::kSynchronising, "a new backup is connected");
    send(Hello{config_.vm_name, config_.build, config_.cpu, config_.timing.lease_ms});
}

void Replica::handle(const Welcome& message) {
    if (state_ != State::kSynchronising || peer_.welcome) return;
    peer_.welcome = true;
    peer_.buffer_bytes = message.buffer_bytes;
    peer_.host = message.host.empty() ? "a host without a name" : message.host;
    actions_.push_back(StartClone{});
}

void Replica::handle(const Refuse& message) {
    say(LogLevel::kWarning, fmt::format("the backup refuses: {}", message.sentence));
    primary_.ask_at_ms = now_ms_ + kRefusalPauses * config_.timing.ask_ms;
    trigger(Trigger::kPeerGone, message.sentence);
}

void Replica::on_vm_stopped(uint64_t now_ms, Icount icount) {
    advance(now_ms);
    primary_.complete = std::max(primary_.complete, icount);
    if (state_ == State::kHandingOver && !primary_.vm_stopped) {
        on_flush(now_ms, icount);
        primary_.vm_stopped = true;
        try_offer();
    }
}

void Replica::on_clone_start(uint64_t now_ms, uint64_t config_bytes) {
    advance(now_ms);
    if (state_ == State::kSynchronising) send(CloneStart{config_bytes});
}

void Replica::handle(const CloneReady&) {
    if (state_ != State::kSynchronising || primary_.log_flows) return;
    if (planted(PlantedBug::kJoinEarly)) begin_log();
    actions_.push_back(SendPages{});
}

void Replica::on_clone_piece(uint64_t now_ms, ClonePart part, Bytes bytes) {
    advance(now_ms);
    if (state_ != State::kSynchronising) return;
    switch (part) {
        case ClonePart::kConfiguration:
            return send(CloneConfig{std::move(bytes)});
        case ClonePart::kPages:
            return send(ClonePages{Pieces(std::move(bytes))});
        case ClonePart::kState:
            return send(CloneState{std::move(bytes)});
        case ClonePart::kEnd:
            return send(CloneEnd{});
    }
}

void Replica::on_clone_cut(uint64_t now_ms, Icount icount, uint64_t state_bytes) {
    advance(now_ms);
    if (state_ != State::kSynchronising) return;
    primary_.complete = std::max(primary_.complete, icount);
    if (!primary_.log_flows) begin_log();
    send(CloneCut{primary_.clone_position, icount, state_bytes});
}

/// From here on entries go to the backup, which keeps them until its copy is whole.
void Replica::begin_log() {
    primary_.log_flows = true;
    primary_.clone_position = primary_.acknowledged = primary_.appended;
    primary_.sent_complete = primary_.complete;
    lag_ = LagControl(config_.timing, peer_.buffer_bytes, primary_.appended, primary_.complete);
}

void Replica::on_clone_void(uint64_t now_ms, const std::string& why) {
    advance(now_ms);
    if (state_ != State::kSynchronising) return;
    primary_.ask_at_ms = now_ms_ + config_.timing.ask_ms;
    send(StandDown{why});
    trigger(Trigger::kPeerGone, why);
}

void Replica::handle(const Loaded& message) {
    if (state_ != State::kSynchronising || !primary_.log_flows || message.position != primary_.clone_position)
        return;
    primary_.loaded = true;
    if (!lease_has_room()) {
        why_ = fmt::format(
            "the backup is complete, but answers too slowly: its newest answer is to what was sent {} ms "
            "ago, "
            "and it protects once that is below {} ms, half of the lease",
            now_ms_ - peer_.echoed_ms, config_.timing.lease_ms / 2);
        say(LogLevel::kWarning, why_);
    }
    try_protect();
}

/// Outputs wait for the backup from here on, so it must answer quickly enough.
void Replica::try_protect() {
    bool ready = primary_.loaded && state_ == State::kSynchronising;
    if (!ready || !lease_has_room() || !tenure_holds(now_ms_)) return;
    if (!hosts_are_told()) return watch_tenure();
    // What has left until now is in the log that goes before Protect, so a backup that may take over holds
    // it.
    if (primary_.pending_count != 0) send_log();
    enter(State::kProtected, "the backup has loaded the guest");
    // Sent before any output is made under the new rule: the backup may take over from here on.
    send(Protect{primary_.appended});
    on_left(primary_.appended);
}

// --- The log ---

bool Replica::wants_log() const { return primary_.log_flows; }

void Replica::on_entry(uint64_t now_ms, LogPos position, record::EntryKind kind, Bytes encoded) {
    advance(now_ms);
    if (is_over(state_)) return;
    CHECK(position == primary_.appended, "entry {} was reported, {} is next", position.value(),
          primary_.appended.value());
    ++primary_.appended;
    if (!primary_.log_flows || state_ == State::kPrimaryClaiming) return;
    primary_.pending.add(std::move(encoded));
    if (primary_.pending_count++ == 0) primary_.pending_since_ms = now_ms_;
    primary_.pending_ends = kind == record::EntryKind::kEnd;
    if (primary_.pending.size() >= kBatchBytes || strikes(FaultPoint::kSmallBatch)) send_log();
}

/// Each message costs both sides a wake-up, and nothing is gained by the haste of one that no output waits
/// for, unless the guest stands still until the backup has it.
std::optional<uint64_t> Replica::log_due_ms() const {
    if (state_ != State::kProtected || primary_.pending_count == 0) return std::nullopt;
    return primary_.pending_since_ms + config_.timing.gather_ms;
}

void Replica::on_flush(uint64_t now_ms, Icount complete, Flush flush) {
    advance(now_ms);
    primary_.complete = std::max(primary_.complete, complete);
    if (!primary_.log_flows || !(paired() || state_ == State::kSynchronising)) return;
    bool progress = primary_.complete > primary_.sent_complete &&
                    now_ms_ - primary_.sent_ms >= config_.timing.progress_ms;
    std::optional<uint64_t> due_ms = log_due_ms();
    bool gathers = flush == Flush::kIfDue && due_ms && now_ms_ < *due_ms && !primary_.pending_ends;
    if ((primary_.pending_count != 0 && !gathers) || progress) send_log();
}

void Replica::send_log() {
    uint64_t bytes = primary_.pending.size();
    uint64_t count = std::exchange(primary_.pending_count, 0);
    uint8_t ends = std::exchange(primary_.pending_ends, false);
    send(Log{primary_.appended - count, count, primary_.complete, ends, std::exchange(primary_.pending, {})});
    primary_.sent_complete = primary_.complete;
    primary_.sent_ms = now_ms_;
    lag_.sent(now_ms_, primary_.appended, primary_.complete, bytes);
}

OutputFate Replica::on_output(uint64_t now_ms, LogPos entry) {
    advance(now_ms);
    if (is_backup(state_) || is_over(state_)) return OutputFate::kDrop;
    CHECK(entry < primary_.appended, "an output without its entry");
    bool alone = state_ == State::kSolo || state_ == State::kSynchronising;
    bool at_once = (alone && tenure_holds(now_ms_)) || (paired() && planted(PlantedBug::kReleaseEarly));
    return at_once ? OutputFate::kRelease : OutputFate::kHold;
}

void Replica::on_left(LogPos position) { primary_.left_before = std::max(primary_.left_before, position); }

void Replica::handle(const Ack& message) { acknowledged(message.received, message.replayed, message.icount); }
void Replica::handle(const BackupBeat& message) {
    peer_.links_lost = message.links_lost;
    acknowledged(message.received, message.replayed, message.icount);
}

void Replica::acknowledged(LogPos received, LogPos replayed, Icount icount) {
    if (!primary_.log_flows || !(paired() || state_ == State::kSynchronising)) return;
    if (received > primary_.appended) {
        say(LogLevel::kError, "the backup acknowledges entries that were never made");
        close_channel();
        return trigger(Trigger::kChannelBroken);
    }
    primary_.acknowledged = std::max(primary_.acknowledged, received);
    lag_.acknowledged(now_ms_, received, replayed, icount);
    if (!paired()) return mind_the_buffer();
    apply_lag_control();
    release();
    if (state_ == State::kHandingOver) try_offer();
    if (state_ == State::kEnding) try_finish();
}

/// Lets out what the backup holds, while it is certain that the backup has not taken over.
void Replica::release() {
    if (!lease_holds(now_ms_) && !planted(PlantedBug::kNoLease)) return;
    if (primary_.vm_stopped || strikes(FaultPoint::kDelayRelease)) return;
    actions_.push_back(ReleaseOutputs{primary_.acknowledged});
}

// --- Lag control ---

void Replica::hold(StopReason reason) {
    primary_.holds |= static_cast<uint8_t>(1u << static_cast<unsigned>(reason));
    actions_.push_back(StopVm{reason});
}

void Replica::unhold(StopReason reason) {
    uint8_t rest = primary_.holds & static_cast<uint8_t>(~(1u << static_cast<unsigned>(reason)));
    if (std::exchange(primary_.holds, rest) != rest && rest == 0) actions_.push_back(StartVm{});
}

/// A backup that loads can't catch up, so the guest isn't slowed for its sake; it stops where the log fills
/// the backup's buffer.
void Replica::mind_the_buffer() {
    if (!primary_.log_flows) return;
    lag_.update_fill();
    bool held = primary_.holds & (1u << static_cast<unsigned>(StopReason::kBufferFull));
    if (lag_.full() && !held) {
        say(LogLevel::kDebug,
            fmt::format("the guest is stopped: {} bytes of log wait to be replayed", lag_.buffered_bytes()));
        hold(StopReason::kBufferFull);
    }
    if (!lag_.full() && held) unhold(StopReason::kBufferFull);
}

void Replica::apply_lag_control() {
    mind_the_buffer();
    lag_.update(now_ms_);
    if (std::exchange(primary_.speed, lag_.speed()) != lag_.speed())
        actions_.push_back(SetSpeed{lag_.speed()});
}

// --- Failures of the backup ---

void Replica::handle(const Diverged& message) {
    std::string parts;
    for (auto [part, name] : {std::pair{record::kRegistersDiffer, "registers"},
                              {record::kMemoryDiffers, "memory"},
                              {record::kDevicesDiffer, "devices"}})
        if (message.parts & part) parts += (parts.empty() ? "" : ", ") + std::string(name);
    std::string sentence =
        fmt::format("the backup has diverged at log position {}, icount {}: {}", message.position.value(),
                    message.icount.value(), parts.empty() ? "it can't apply the log" : parts + " differ");
    say(LogLevel::kError, sentence);
    trigger(Trigger::kPeerGone, sentence);
}

void Replica::handle(const Gone& message) {
    say(LogLevel::kWarning, fmt::format("the backup has stopped: {}", message.sentence));
    trigger(Trigger::kPeerGone, message.sentence);
}

void Replica::handle(const Live&) {}  // of the same term it says nothing; of a newer one admits() sees to it

// --- The end ---

void Replica::on_guest_off(uint64_t now_ms) {
    advance(now_ms);
    if (is_over(state_)) return;
    primary_.guest_off = true;
    on_flush(now_ms, primary_.complete);
    guest_is_off();
}

/// An owner alone whose term isn't leased keeps its outputs, and may finish once they have left.
void Replica::guest_is_off() {
    bool alone = state_ == State::kSolo || state_ == State::kSynchronising;
    if (!alone || tenure_holds(now_ms_)) trigger(Trigger::kGuestOff);
}

// A claim that the arbiter gets is answered sooner than a renewal of the term would be due.
bool Replica::waits_for_arbiter() const {
    if (!primary_.guest_off) return false;
    if (state_ == State::kPrimaryClaiming) return now_ms_ > claimed_ms_ + config_.timing.renew_ms;
    bool alone = state_ == State::kSolo || state_ == State::kSynchronising;
    return alone && !tenure_holds(now_ms_);
}

/// A backup that has acknowledged the end of the log will never take over, so no lease is needed.
void Replica::try_finish() {
    if (primary_.acknowledged != primary_.appended) return;
    primary_.finished = true;
    actions_.push_back(ReleaseOutputs{primary_.acknowledged});
    halt(HaltReason::kPoweredOff, "the guest is off, and the backup knows it");
}

Result<void> Replica::hand_over(uint64_t now_ms) {
    advance(now_ms);
    if (state_ != State::kProtected)
        return error("VM {} can't be handed over: it has no complete backup (state {})", config_.vm_name,
                     name_of(state_));
    enter(State::kHandingOver, "the operator wants the backup to go on");
    primary_.hand_over_until_ms = now_ms_ + config_.timing.hand_over_ms;
    hold(StopReason::kHandOver);
    return {};
}

/// The guest is stopped and the backup has everything: from here on this side lets nothing out.
void Replica::try_offer() {
    if (!primary_.vm_stopped || primary_.offered || primary_.acknowledged != primary_.appended) return;
    primary_.offered = true;
    primary_.hand_over_until_ms = now_ms_ + config_.timing.hand_over_ms;
    send(HandOver{primary_.appended, primary_.left_before});
}

Result<void> Replica::set_policy(uint64_t now_ms, Policy policy) {
    advance(now_ms);
    if (is_backup(state_)) return error("VM {} is a backup here: ask its primary", config_.vm_name);
    config_.policy = policy;
    if (policy == Policy::kProtect) {
        primary_.ask_at_ms = now_ms_;
        return {};
    }
    if (state_ == State::kProtected) send(StandDown{"the operator wants no backup"});
    if (state_ == State::kSynchronising) {
        send(StandDown{"the operator wants no backup"});
        trigger(Trigger::kPeerGone, "the operator wants no backup");
    }
    return {};
}

}  // namespace lockstep::replica
