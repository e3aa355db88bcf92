// SPDX-License-Identifier: Apache-2.0
// Carrying out what the replica wants (replica/action.h).
#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "record/entry_codec.h"
#include "record/wire_entry.h"
#include "vmm/vm_process.h"

namespace lockstep::vmm {

namespace {

constexpr size_t kSnapshotPart = 1 << 20;
/// Snapshot bytes that may wait in the channel.
constexpr size_t kSnapshotAhead = 8 << 20;

}  // namespace

/// Actions may bring about events, whose actions come after those that wait already.
void VmProcess::act() {
    if (acting_ || !replica_) return;
    acting_ = true;
    std::deque<replica::Action> waiting;
    for (;;) {
        for (replica::Action& action : replica_->take_actions()) waiting.push_back(std::move(action));
        if (waiting.empty()) break;
        replica::Action action = std::move(waiting.front());
        waiting.pop_front();
        std::visit([this](auto& one) { carry_out(one); }, action);
    }
    acting_ = false;
    prepare_last_words();
    backends_->issue_kept();  // a new state, or a lease renewed
    set_wanted();
}

// --- The link ---

void VmProcess::carry_out(replica::SendChannel& action) {
    if (!link_) return;
    std::vector<ByteSpan> parts(action.bytes.all().begin(), action.bytes.all().end());
    link_->send(parts);
}

void VmProcess::carry_out(replica::SendDatagram& action) {
    if (link_) link_->send_datagram(action.bytes);
}

void VmProcess::carry_out(replica::CloseChannel&) { release_link(); }

/// The link lives until its last bytes are with the kernel.
void VmProcess::release_link() {
    snapshot_leaves_ = false;
    if (!link_) return;
    earlier_links_bytes_ += link_->bytes_sent();
    std::shared_ptr<PairLink> link = std::move(link_);
    ++*closing_;
    link->close([link, closing = closing_] { --*closing; });
}

void VmProcess::attach(std::unique_ptr<PairLink> link) {
    link_ = std::move(link);
    link_->set_largest_message(replica::kMaxMessageBytes);
    link_->set_handlers(
        {.message =
             [this](ByteSpan message) {
                 last_log_ns_ = loop_.now_ns();
                 replica_->on_channel_message(now_ms(), message);
                 act();
             },
         .datagram =
             [this](ByteSpan datagram) {
                 replica_->on_datagram(now_ms(), datagram);
                 act();
             },
         .closed = [this](host::CloseCause cause, const Error& why) { channel_closed(cause, why); },
         .drained = [this] { send_snapshot(); }});
    replica_->on_channel_open(now_ms());
    act();
}

/// The datagrams go on: their echoes may still matter. The link goes when the replica wants another, or none.
void VmProcess::channel_closed(host::CloseCause cause, const Error& reason) {
    log_info("VM {}: {}", settings_.name, reason.message());
    snapshot_leaves_ = false;
    bool closed = cause == host::CloseCause::kPeerClosed;
    replica_->on_channel_closed(now_ms(),
                                closed ? replica::ChannelEnd::kPeerClosed : replica::ChannelEnd::kBroken);
    act();
}

void VmProcess::carry_out(replica::AskForBackup&) {
    release_link();
    seeker_->seek(introduction(), [this](std::unique_ptr<PairLink> link) {
        log_info("VM {}: {} serves as its backup", settings_.name, link->peer());
        attach(std::move(link));
    });
}

// --- An owner's guest ---

void VmProcess::carry_out(replica::ReleaseOutputs& action) {
    bool waited = gate_->held() > 0;
    replica_->on_left(gate_->release(action.up_to));
    if (waited && gate_->held() == 0) answer_poll_.answered(loop_.now_ns());
}

void VmProcess::carry_out(replica::StopVm& action) {
    uint64_t stop = ++stop_;
    vcpu_->pause([this, stop, reason = action.reason](Icount icount) {
        if (stop != stop_ || reason == replica::StopReason::kBufferFull) return;
        if (reason == replica::StopReason::kHandOver) return wait_until_quiet(stop, icount);
        replica_->on_vm_stopped(now_ms(), icount);
        act();
    });
}

/// The guest stands still. Once nothing is in flight, and every completion has been delivered, it stays as it
/// is.
void VmProcess::wait_until_quiet(uint64_t stop, Icount icount) {
    if (stop != stop_) return;
    if (backends_->in_flight() > 0)
        return backends_->drain([this, stop, icount] { wait_until_quiet(stop, icount); });
    uint64_t completions = backends_->completions();
    vcpu_->call([this, stop, icount, completions](machine::Machine&, const drive::DriverCounts&, LogPos) {
        vcpu_->report([this, stop, icount, completions] {
            if (stop != stop_) return;
            if (backends_->completions() != completions || backends_->in_flight() > 0)
                return wait_until_quiet(stop, icount);
            replica_->on_vm_stopped(now_ms(), icount);
            act();
        });
    });
}

void VmProcess::carry_out(replica::StartVm&) {
    ++stop_;
    vcpu_->resume();
}

void VmProcess::carry_out(replica::SetSpeed& action) { vcpu_->set_speed(action.permille); }

void VmProcess::carry_out(replica::TakeSnapshot&) {
    vcpu_->call([this](machine::Machine& machine, const drive::DriverCounts& counts, LogPos) {
        // The guest stands still for this. Room for all of its memory costs nothing until it is used, and
        // saves copying what was saved already.
        auto state = std::make_shared<Bytes>(drive::save_state(machine, counts, settings_.memory_bytes));
        vcpu_->report([this, state, icount = machine.icount()] {
            snapshot_ = std::move(*state);
            snapshot_sent_ = 0;
            snapshot_leaves_ = true;
            vcpu_->set_hash_period(settings_.protection.hash_ms * host::kNsPerMs);
            replica_->on_snapshot(now_ms(), icount, configuration_.size(), snapshot_.size());
            act();
            send_snapshot();
        });
    });
}

void VmProcess::send_snapshot() {
    while (snapshot_leaves_ && link_ && link_->queued_bytes() < kSnapshotAhead) {
        ByteSpan part = snapshot_part();
        if (part.empty()) {
            snapshot_leaves_ = false;
            snapshot_ = Bytes();
            return;
        }
        replica_->on_snapshot_part(now_ms(), part);
        snapshot_sent_ += part.size();
        act();
    }
}

/// What is to be sent next of the configuration, then of the state.
ByteSpan VmProcess::snapshot_part() const {
    bool in_state = snapshot_sent_ >= configuration_.size();
    ByteSpan rest = in_state ? ByteSpan(snapshot_).subspan(snapshot_sent_ - configuration_.size())
                             : ByteSpan(configuration_).subspan(snapshot_sent_);
    return rest.first(std::min(kSnapshotPart, rest.size()));
}

// --- A backup's guest ---

void VmProcess::carry_out(replica::StoreSnapshot& action) {
    if (action.offset == 0) {
        snapshot_ = Bytes();
        snapshot_.reserve(settings_.memory_bytes);  // not there until it is used
    }
    snapshot_.insert(snapshot_.end(), action.bytes.begin(), action.bytes.end());
}

void VmProcess::carry_out(replica::LoadSnapshot& action) {
    configuration_ = std::move(action.config);
    vcpu_->create(configuration_, settings_.engine, std::move(snapshot_), [this](Result<void> result) {
        snapshot_ = Bytes();
        if (!result) log_error("VM {}: {}", settings_.name, result.error().message());
        replica_->on_loaded(now_ms(), result);
        act();
    });
    snapshot_ = Bytes();
    vcpu_->start_replay(action.position);
}

void VmProcess::carry_out(replica::ReplayLog& action) {
    Result<std::vector<record::Entry>> entries = record::decode_wire_entries(action.entries, action.count);
    if (!entries) {
        // Damaged though its checksum is right: the other side doesn't encode as we do.
        log_error("VM {}: {}", settings_.name, entries.error().message());
        replica_->on_divergence(now_ms(), action.first, complete_, 0);
        return act();
    }
    for (const record::Entry& entry : entries.value()) {
        log_meter_.count(entry.kind, record::encoded_size(entry, entry.icount));
        if (drive::is_traffic(entry.kind)) cpu_latency_.traffic();
    }
    vcpu_->replay({entries.take(), action.complete});
}

void VmProcess::carry_out(replica::BeCareful&) {
    careful_ = true;
    log_warning("VM {}: from here on without the engine's optimisations, and for a second once it is live",
                settings_.name);
    vcpu_->be_careful([this] {
        careful_ = false;
        log_info("VM {}: the engine has its optimisations again", settings_.name);
    });
}

void VmProcess::carry_out(replica::GoLive& action) {
    uint64_t now_ns = loop_.now_ns();
    uint64_t behind_ns = last_log_ns_ ? now_ns - last_log_ns_ : 0;
    log_info("VM {} is live here, in term {}, {} ms after its primary was last heard", settings_.name,
             action.term.value(), behind_ns / host::kNsPerMs);
    live_ = true;
    live_since_ns_ = now_ns;
    release_link();
    backends_->go_live();
    // A claim may have been answered so late that somebody else has started the VM meanwhile.
    bool ours = replica_->may_release(LogPos(0), now_ms());
    for (const OutputMade& packets : recent_packets_)
        if (ours && packets.position >= action.left_before) backends_->submit(packets.output, {});
    recent_packets_.clear();
    vcpu_->go_live(action.position, 0, behind_ns, [this](std::vector<bus::Output> requests) {
        // Their entries were consumed before: whoever has won the guest may do what they say.
        for (const bus::Output& request : requests) backends_->submit(request, LogPos(0));
    });
}

// --- The end ---

void VmProcess::carry_out(replica::Halt& action) {
    using enum replica::HaltReason;
    Ending::Kind kind = Ending::Kind::kFailed;
    switch (action.reason) {
        case kPoweredOff:
            kind = Ending::Kind::kPoweredOff;
            break;
        case kHandedOver:
            kind = Ending::Kind::kHandedOver;
            break;
        case kLost:
            kind = Ending::Kind::kLost;
            break;
        case kDismissed:
            kind = Ending::Kind::kDismissed;
            break;
        case kRefused:
        case kDiverged:
            break;
    }
    gate_->discard();
    if (kind != Ending::Kind::kPoweredOff) return end(kind, action.sentence);
    // What the guest wrote last is still on its way to the disk.
    backends_->drain([this, sentence = action.sentence] { end(Ending::Kind::kPoweredOff, sentence); });
}

void VmProcess::carry_out(replica::Say& action) {
    log(action.level, "VM {}: {}", settings_.name, action.sentence);
}

}  // namespace lockstep::vmm
