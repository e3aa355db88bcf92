// SPDX-License-Identifier: Apache-2.0
// The backup's side: joining, receiving and acknowledging the log, taking over.
#include <algorithm>
#include <utility>

#include "replica/replica.h"

namespace lockstep::replica {

namespace {
/// Progress of the replay is reported at most so often, beside the acknowledgements of new entries.
constexpr uint64_t kReportMs = 10;
/// So many times the buffer that was agreed upon may wait here before the log is refused. The guest makes
/// some more until its primary has noticed that the buffer is full.
constexpr uint64_t kMostBuffers = 4;
}  // namespace

void Replica::backup_time() {
    if (backup_.ack_due && state_ == State::kReplaying) send_ack();
    check_ready();
}

/// Says farewell and stops: this process will never claim.
void Replica::leave(HaltReason reason, const std::string& sentence) {
    if (reason == HaltReason::kRefused)
        send(Refuse{sentence});
    else
        send(Gone{sentence});
    halt(reason, sentence);
}

// --- Joining ---

void Replica::handle(Hello& message) {
    leave_as_ = HaltReason::kRefused;
    std::string sentence;
    if (message.build != config_.build)
        sentence = fmt::format(
            "the backup runs build {}, the primary of VM {} build {}: install the same build on both hosts",
            config_.build, message.vm_name, message.build);
    else if (message.cpu != config_.cpu)
        sentence = fmt::format(
            "the backup's processor ({}) doesn't match that of the primary of VM {} ({}): choose a host "
            "with the same processor features",
            config_.cpu, message.vm_name, message.cpu);
    else if (config_.timing.over_ms(message.lease_ms) > config_.timing.failure_ms)
        sentence = fmt::format(
            "the primary's lease of {} ms doesn't fit into the backup's failure bound of {} ms: give both "
            "hosts the same timing",
            message.lease_ms, config_.timing.failure_ms);
    if (!sentence.empty()) return trigger(Trigger::kUnfit, sentence);
    config_.vm_name = message.vm_name;
    peer_.lease_ms = message.lease_ms;
    send(Welcome{config_.buffer_bytes, config_.host});
}

void Replica::handle(const CloneStart& message) {
    if (state_ != State::kJoining) return;
    if (message.config_bytes > config_.most_config_bytes)
        return trigger(Trigger::kUnfit,
                       fmt::format("the primary of VM {} announces a configuration of {} bytes, where its "
                                   "settings allow {}",
                                   config_.vm_name, message.config_bytes, config_.most_config_bytes));
    enter(State::kLoading, "the copy is coming");
    backup_.copy = Backup::Copy::kConfig;
    backup_.config_bytes = message.config_bytes;
    make_when_complete();
}

/// Messages of a copy come in order, and no longer than they were said to be.
void Replica::unfit_copy() { trigger(Trigger::kUnfit, "the parts of the copy don't fit together"); }

void Replica::handle(const CloneConfig& message) {
    if (state_ != State::kLoading) return;
    bool fits = backup_.copy == Backup::Copy::kConfig &&
                message.bytes.size() <= backup_.config_bytes - backup_.config.size();
    if (!fits) return unfit_copy();
    backup_.config.insert(backup_.config.end(), message.bytes.begin(), message.bytes.end());
    make_when_complete();
}

void Replica::make_when_complete() {
    if (backup_.config.size() < backup_.config_bytes) return;
    backup_.copy = Backup::Copy::kMaking;
    actions_.push_back(MakeMachine{std::exchange(backup_.config, {})});
}

void Replica::on_made(uint64_t now_ms, const Result<void>& result) {
    advance(now_ms);
    if (state_ != State::kLoading || backup_.copy != Backup::Copy::kMaking) return;
    if (!result) return trigger(Trigger::kUnfit, result.error().message());
    backup_.copy = Backup::Copy::kRounds;
    send(CloneReady{});
}

void Replica::handle(ClonePages& message) {
    if (state_ != State::kLoading) return;
    if (backup_.copy != Backup::Copy::kRounds && backup_.copy != Backup::Copy::kCut) return unfit_copy();
    actions_.push_back(LoadPages{message.records.take_joined()});
}

void Replica::handle(const CloneCut& message) {
    if (state_ != State::kLoading) return;
    if (backup_.copy != Backup::Copy::kRounds) return unfit_copy();
    if (message.state_bytes > config_.most_state_bytes)
        return trigger(
            Trigger::kUnfit,
            fmt::format("the primary of VM {} announces a state of {} bytes, where its settings allow {}",
                        config_.vm_name, message.state_bytes, config_.most_state_bytes));
    backup_.copy = Backup::Copy::kCut;
    backup_.state_bytes = message.state_bytes;
    backup_.received = backup_.replayed = backup_.clone_position = message.position;
    backup_.complete = backup_.icount = backup_.clone_icount = message.icount;
}

void Replica::handle(const CloneState& message) {
    if (state_ != State::kLoading) return;
    bool fits = backup_.copy == Backup::Copy::kCut &&
                message.bytes.size() <= backup_.state_bytes - backup_.state.size();
    if (!fits) return unfit_copy();
    backup_.state.insert(backup_.state.end(), message.bytes.begin(), message.bytes.end());
}

void Replica::handle(const CloneEnd&) {
    if (state_ != State::kLoading) return;
    if (backup_.copy != Backup::Copy::kCut || backup_.state.size() != backup_.state_bytes)
        return unfit_copy();
    backup_.copy = Backup::Copy::kWhole;
    actions_.push_back(
        LoadState{backup_.clone_position, backup_.clone_icount, std::exchange(backup_.state, {})});
}

void Replica::on_loaded(uint64_t now_ms, const Result<void>& result) {
    advance(now_ms);
    if (state_ != State::kLoading) return;
    if (!result) return trigger(Trigger::kUnfit, result.error().message());
    if (backup_.copy != Backup::Copy::kWhole) return;
    send(Loaded{backup_.clone_position});
    leave_as_ = HaltReason::kDismissed;
    if (planted(PlantedBug::kArmedTooSoon)) enter(State::kReplaying, "planted");
}

void Replica::handle(const Protect&) {
    if (state_ != State::kLoading) return;
    predecessor_ = {peer_.id, term_};
    enter(State::kReplaying, "the guest is loaded, and the primary relies on this backup");
    if (backup_.log_ended) trigger(Trigger::kLogEnded);
}

// --- The log ---

void Replica::handle(Log& message) {
    bool wanted = state_ == State::kLoading || state_ == State::kReplaying || state_ == State::kBackupEnding;
    if (!wanted) return;  // after a claim the log is what was acknowledged
    if (state_ == State::kLoading && backup_.copy < Backup::Copy::kCut) return unfit_copy();
    if (message.first != backup_.received)
        return trigger(Trigger::kUnfit, fmt::format("the log has a gap: entry {} came, {} was next",
                                                    message.first.value(), backup_.received.value()));
    backup_.received += message.count;
    if (!store_waiting(message.entries.size()))
        return trigger(Trigger::kUnfit,
                       fmt::format("the primary of VM {} sends more log than this backup can "
                                   "hold: {} bytes wait",
                                   config_.vm_name, backup_.waiting_bytes));
    backup_.complete = std::max(backup_.complete, message.complete);
    backup_.log_ended = backup_.log_ended || message.ends;
    backup_.unreported_bytes += message.entries.size();
    // Outputs wait for the acknowledgement, so it goes before anything else is done with the entries.
    backup_.ack_due = true;
    bool at_once = message.count != 0 && !strikes(FaultPoint::kDelayAck);
    if (at_once) send_ack();
    actions_.push_back(ReplayLog{message.first, message.count, message.complete, message.ends != 0,
                                 message.entries.take_joined()});
    if (message.ends) trigger(Trigger::kLogEnded);
}

/// Counts log that waits to be executed; false where it is more than any primary leaves there, which stops
/// its guest in time.
bool Replica::store_waiting(uint64_t bytes) {
    if (bytes == 0) return true;
    backup_.waiting.emplace_back(backup_.received, bytes);
    backup_.waiting_bytes += bytes;
    return backup_.waiting_bytes <= kMostBuffers * config_.buffer_bytes + kMaxMessageBytes;
}

void Replica::send_ack() {
    backup_.ack_due = false;
    backup_.reported_ms = now_ms_;
    if (backup_.replayed == backup_.received) backup_.unreported_bytes = 0;
    send(Ack{backup_.received, backup_.replayed, backup_.icount});
}

void Replica::on_replayed(uint64_t now_ms, LogPos position, Icount icount) {
    advance(now_ms);
    if (!is_backup(state_)) return;
    bool further = position > backup_.replayed || icount > backup_.icount;
    backup_.replayed = std::max(backup_.replayed, position);
    while (!backup_.waiting.empty() && backup_.waiting.front().first <= backup_.replayed) {
        backup_.waiting_bytes -= backup_.waiting.front().second;
        backup_.waiting.pop_front();
    }
    backup_.icount = std::max(backup_.icount, icount);
    bool reports = state_ == State::kReplaying || state_ == State::kLoading;
    // A primary whose guest stands because the buffer was full must not wait for the next heartbeat.
    bool emptied =
        backup_.replayed == backup_.received && backup_.unreported_bytes >= config_.buffer_bytes / 4;
    if (further && reports && (emptied || now_ms_ - backup_.reported_ms >= kReportMs)) send_ack();
    check_ready();
}

void Replica::handle(const PrimaryBeat& message) {
    backup_.left_before = std::max(backup_.left_before, message.left_before);
    if (!planted(PlantedBug::kAckEarly) || message.appended <= backup_.received) return;
    if (state_ == State::kReplaying) send(Ack{message.appended, backup_.replayed, backup_.icount});
}

void Replica::on_divergence(uint64_t now_ms, LogPos position, Icount icount, uint8_t parts) {
    advance(now_ms);
    if (!is_backup(state_)) return;
    bool leaves = state_ == State::kReplaying || state_ == State::kBackupEnding || state_ == State::kLoading;
    if (leaves) send(Diverged{position, icount, parts});
    leave_as_ = HaltReason::kDiverged;
    trigger(Trigger::kUnfit, fmt::format("this backup has diverged at log position {}, icount {}",
                                         position.value(), icount.value()));
}

// --- Taking over ---

void Replica::handle(const HandOver& message) {
    if (state_ == State::kReplaying && message.position != backup_.received)
        return trigger(Trigger::kUnfit,
                       "the guest is handed over at a position that this backup doesn't have");
    backup_.left_before = std::max(backup_.left_before, message.left_before);
    trigger(Trigger::kOffered);
}

// The channel's end tells the rest, and decides.
void Replica::handle(const Crashed&) {
    bool armed =
        state_ == State::kReplaying || state_ == State::kBackupClaiming || state_ == State::kGoingLive;
    if (!armed || std::exchange(backup_.careful, true)) return;
    say(LogLevel::kWarning, "a signal of its own ends the primary's process: this side goes on carefully");
    actions_.push_back(BeCareful{});
}

/// They are taken in before this side knows of the death, and when it is live, in the next term.
void Replica::take_in(const Header& header, Orphans& message) {
    bool left_to_us = predecessor_.id != 0 && header.vm == config_.vm && header.sender == predecessor_.id &&
                      header.receiver == config_.self && header.term == predecessor_.term;
    if (left_to_us) actions_.push_back(LetIn{message.device, std::move(message.packets)});
}

void Replica::handle(const StandDown& message) {
    leave_as_ = HaltReason::kDismissed;
    trigger(Trigger::kDismissed, message.sentence);
}

/// No primary may still act when this backup goes live. Its lease began when it sent the message that this
/// side echoed last, so it began before that message came in here.
void Replica::set_live_from(Trigger found) {
    uint64_t lease_over = peer_.newest_stamp_at + config_.timing.over_ms(peer_.lease_ms);
    backup_.live_from_ms = lease_over;
    backup_.writes_from_ms = lease_over + config_.timing.storage_ms;
    if (found == Trigger::kPeerClosed) {
        backup_.live_from_ms = now_ms_;
        backup_.writes_from_ms = std::min(backup_.writes_from_ms, now_ms_ + config_.timing.settle_ms);
    }
    if (found == Trigger::kOffered || planted(PlantedBug::kLiveTooSoon))
        backup_.live_from_ms = backup_.writes_from_ms = now_ms_;
}

void Replica::check_ready() {
    bool consumed = backup_.replayed == backup_.received;
    if (state_ == State::kBackupEnding && consumed) return trigger(Trigger::kReady);
    if (state_ != State::kGoingLive || now_ms_ < backup_.live_from_ms) return;
    if (consumed || planted(PlantedBug::kForgetTail)) trigger(Trigger::kReady);
}

void Replica::go_live() {
    primary_ = {};
    primary_.appended = primary_.acknowledged = backup_.replayed;
    primary_.complete = primary_.sent_complete = backup_.icount;
    primary_.ask_at_ms = now_ms_ + config_.timing.recovery_ms;
    writes_from_ms_ = backup_.writes_from_ms;
    LogPos left = planted(PlantedBug::kSkipLast) ? backup_.replayed : backup_.left_before;
    send(Live{backup_.replayed});
    enter(State::kSolo, "the guest runs here now");
    // Which ends the channel, but not the datagrams: what the other side still has for the guest.
    actions_.push_back(GoLive{term_, backup_.replayed, left});
    peer_ = {};
    backup_ = {};
}

}  // namespace lockstep::replica
