// SPDX-License-Identifier: Apache-2.0
// Carrying out what starter and replica want (replica/starter.h, replica/action.h).
#include <iterator>

#include "pair/session.h"
#include "record/wire_entry.h"

namespace lockstep::pair {

// --- The start ---

void Session::act_start() {
    for (replica::StartAction& action : starter_->take_actions())
        std::visit([this](const auto& one) { carry_out_start(one); }, action);
}

void Session::carry_out_start(const replica::LookAtTerm& action) { ports_.arbiter.look(action.term); }
void Session::carry_out_start(const replica::Claim& action) { ports_.arbiter.claim(action.term); }
void Session::carry_out_start(const replica::RenewTerm& action) {
    ports_.arbiter.renew(action.term, action.hosts);
}
void Session::carry_out_start(const replica::StartGuest& action) { own(action.term, action.leased_from_ms); }
void Session::carry_out_start(const replica::GiveUp& action) { end(Ending::Kind::kFailed, action.sentence); }
void Session::carry_out_start(const replica::Say& action) { say(action.level, "{}", action.sentence); }

// --- The replica ---

/// Actions may bring about events, whose actions come after those that wait already. A simulated process may
/// be stopped between two of them.
void Session::act() {
    if (acting_ || !replica_) return;
    acting_ = true;
    for (;;) {
        std::vector<Action> actions = replica_->take_actions();
        to_do_.insert(to_do_.end(), std::move_iterator(actions.begin()), std::move_iterator(actions.end()));
        if (to_do_.empty() || (hooks_ && hooks_->stops())) break;
        Action action = std::move(to_do_.front());
        to_do_.pop_front();
        std::visit([this](auto& one) { carry_out(one); }, action);
    }
    acting_ = false;
    keep_last_words();
    ports_.outside.acknowledged(replica_->acknowledged());
    ports_.outside.issue_kept();  // a new state, a lease renewed, or a dead primary's writes have ended
    wake_when_due();
    bool wanted = replica_->wants_log();
    if (std::exchange(log_wanted_, wanted) != wanted) ports_.guest.want_log(wanted);
}

void Session::carry_out(replica::SendChannel& action) { ports_.link.send(action.bytes); }
void Session::carry_out(replica::SendDatagram& action) { ports_.link.send_datagram(action.bytes); }
void Session::carry_out(replica::CloseChannel&) { close_link(); }
void Session::carry_out(replica::Claim& action) { ports_.arbiter.claim(action.term); }
void Session::carry_out(replica::RenewTerm& action) { ports_.arbiter.renew(action.term, action.hosts); }
void Session::carry_out(replica::AskForBackup&) {
    close_link();
    ports_.host.ask_for_backup();
}
void Session::carry_out(replica::Say& action) { say(action.level, "{}", action.sentence); }

// --- An owner's guest ---

void Session::carry_out(replica::ReleaseOutputs& action) {
    bool waited = gate_->held() > 0;
    replica_->on_left(gate_->release(action.up_to));
    if (waited && gate_->held() == 0) ports_.host.outputs_left();
}

void Session::carry_out(replica::StopVm& action) { standstill_.stop(action.reason); }
void Session::carry_out(replica::StartVm&) { standstill_.start(); }
void Session::carry_out(replica::SetSpeed& action) { ports_.guest.set_speed(action.permille); }

void Session::carry_out(replica::StartClone&) {
    clone_began_ns_ = ports_.clock.now_ns();
    clone_out_.start(config_.machine);
    replica_->on_clone_start(now_ms(), config_.machine.size());
    send_clone_again(clone_began_ns_);
}

void Session::carry_out(replica::SendPages&) { clone_out_.ready(); }

// --- A backup's guest ---

void Session::carry_out(replica::MakeMachine& action) {
    config_.machine = std::move(action.config);
    ports_.guest.make(config_.machine, MadeFor::kCopy);
}

void Session::carry_out(replica::LoadPages& action) {
    loaded_bytes_ += action.records.size();
    if (Result<void> loaded = ports_.guest.load_pages(action.records); !loaded)
        replica_->on_loaded(now_ms(), loaded);
}

void Session::carry_out(replica::LoadState& action) {
    ports_.guest.load_state(std::move(action.state));
    ports_.guest.start_replay(action.position);
}

void Session::carry_out(replica::ReplayLog& action) {
    Result<std::vector<record::Entry>> entries = record::decode_wire_entries(action.entries, action.count);
    if (entries) return ports_.guest.replay(entries.take(), action.complete);
    // Damaged though its checksum is right: the other side doesn't encode as we do.
    on_divergence(entries.error().message(), action.first, complete_, 0);
}

void Session::carry_out(replica::BeCareful&) {
    careful_ = true;
    say(LogLevel::kWarning,
        "from here on without the engine's optimisations, and for a second once it is live");
    ports_.guest.be_careful();
}

void Session::carry_out(replica::GoLive& action) {
    uint64_t now_ns = ports_.clock.now_ns();
    live_since_ns_ = now_ns;
    uint64_t behind_ns = last_message_ns_ ? now_ns - last_message_ns_ : 0;
    say(LogLevel::kInfo, "it is live here, in term {}, {} ms after its primary was last heard",
        action.term.value(), behind_ns / kNsPerMs);
    phase_ = Phase::kLive;
    clone_out_.stop();
    ports_.link.close_channel();
    ports_.outside.go_live();
    std::vector<bus::Output> packets = recent_packets_.take_unsent(action.left_before);
    // A claim may have been answered so late that somebody else has started the VM meanwhile.
    if (!replica_->may_release(LogPos(0), now_ms())) packets.clear();
    for (const bus::Output& output : packets) ports_.outside.submit(output, LogPos(0));
    ports_.guest.go_live(action.position, behind_ns);
    for (KeptPackets::Group& group : kept_packets_.take(now_ns))
        ports_.outside.let_in(group.device, std::move(group.packets));
    ports_.host.went_live();
}

void Session::carry_out(replica::LetIn& action) {
    if (phase_ == Phase::kLive)
        ports_.outside.let_in(action.device, std::move(action.packets));
    else
        kept_packets_.add({ports_.clock.now_ns(), action.device, std::move(action.packets)});
}

// --- The end ---

namespace {

Ending::Kind kind_of(replica::HaltReason reason) {
    switch (reason) {
        case replica::HaltReason::kPoweredOff:
            return Ending::Kind::kPoweredOff;
        case replica::HaltReason::kHandedOver:
            return Ending::Kind::kHandedOver;
        case replica::HaltReason::kLost:
            return Ending::Kind::kLost;
        case replica::HaltReason::kDismissed:
            return Ending::Kind::kDismissed;
        case replica::HaltReason::kRefused:
        case replica::HaltReason::kDiverged:
            return Ending::Kind::kFailed;
    }
    return Ending::Kind::kFailed;
}

}  // namespace

void Session::carry_out(replica::Halt& action) {
    gate_->discard();
    Ending::Kind kind = kind_of(action.reason);
    if (kind != Ending::Kind::kPoweredOff) return end(kind, action.sentence);
    // What the guest wrote last is still on its way to the disk.
    last_sentence_ = action.sentence;
    phase_ = Phase::kOff;
    ports_.outside.drain();
}

}  // namespace lockstep::pair
