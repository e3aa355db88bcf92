// SPDX-License-Identifier: Apache-2.0
#include "sim/process.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "record/payloads.h"
#include "sim/world.h"

namespace lockstep::sim {

using record::EntryKind;
using replica::PlantedBug;

namespace {
constexpr Micros kTick = 25 * kMillisecond;
constexpr Micros kReplayStep = 3 * kMillisecond;
/// Packets that a backup keeps to send them again.
constexpr size_t kRecentPackets = 16;
/// Guest instructions in a microsecond at full speed.
constexpr uint64_t kInstructionsPerMicro = 1;
/// What a disk can write at once: requests in the same block wait for each other.
constexpr uint64_t kBlockSectors = 2;
/// Requests that the kernel takes at a time.
constexpr unsigned kRingEntries = 2;
/// The loop's round, which ends with the submission of requests.
constexpr Micros kRound = 500;
}  // namespace

uint64_t HostClock::ms(Micros now) const {
    auto true_time = static_cast<int64_t>(now);
    return offset_ms + static_cast<uint64_t>((true_time + true_time * rate_ppm / 1'000'000) / 1000);
}

Process::Process(World& world, uint64_t id, unsigned host, replica::Replica replica, const HostClock& clock)
    : world_(world), id_(id), host_(host), replica_(std::move(replica)), clock_(clock) {}

uint64_t Process::local_ms() const { return clock_.ms(world_.now()); }

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
    awake_since_ = world_.now();
    pump();
    while (alive_ && !paused_ && !inbox_.empty()) {
        std::function<void()> run = std::move(inbox_.front());
        inbox_.pop_front();
        run();
    }
}

void Process::start_ticking() {
    world_.after(kTick, id_, [this] {
        tick();
        if (alive_) start_ticking();
    });
}

void Process::tick() {
    replica_.on_time(local_ms());
    pump();
    check_waits();
}

/// A primary puts up with a backup that keeps its outputs waiting only for a while.
void Process::check_waits() {
    if (!alive_ || paused_ || held_.empty() || replica_.state() != replica::State::kProtected) return;
    Micros waits = world_.now() - std::max(held_.front().since, awake_since_);
    if (waits > world_.longest_wait())
        world_.checker().fail("no freeze", fmt::format("process {} has held output {} for {} ms", id_,
                                                       held_.front().output.number, waits / kMillisecond));
}

/// Carries out what the replica wants, as far as this process lives and runs.
void Process::pump() {
    note_owner();
    if (replica::is_owner(replica_.state())) owner_state_ = replica_.state();
    while (alive_ && !paused_) {
        if (to_do_.empty()) {
            for (replica::Action& action : replica_.take_actions()) to_do_.push_back(std::move(action));
            if (to_do_.empty()) break;
        }
        if (die_after_ != 0 && --die_after_ == 0 && world_.may_die(*this)) return world_.kill(*this);
        if (pause_after_ != 0 && --pause_after_ == 0) return world_.stop(*this, pause_time_);
        replica::Action action = std::move(to_do_.front());
        to_do_.pop_front();
        carry_out(action);
    }
    if (disk_queue_.has_ready()) end_round_soon();  // what was kept is asked for again
}

bool Process::needs_no_backup() const {
    using replica::State;
    State state = replica_.state();
    if (state == State::kStopped)
        return owner_state_ == State::kSynchronising || replica_.status(0).peer == 0;
    return state == State::kSolo || state == State::kSynchronising;
}

void Process::note_owner() {
    if (replica_.state() != replica::State::kSolo || replica_.term() <= noted_term_ || !may_act()) return;
    noted_term_ = replica_.term();
    world_.owner(*this);
}

void Process::carry_out(replica::Action& action) {
    world_.note(id_, action.index());
    std::visit([this](auto& a) { act(a); }, action);
}

// --- Events of the host ---

void Process::channel_opened(uint64_t channel) {
    channel_ = channel;
    replica_.on_channel_open(local_ms());
    pump();
}

void Process::channel_closed(uint64_t channel, replica::ChannelEnd end) {
    if (channel != channel_) return;
    channel_ = 0;
    replica_.on_channel_closed(local_ms(), end);
    pump();
}

void Process::channel_message(uint64_t channel, const Bytes& bytes) {
    if (channel != channel_) return;
    replica_.on_channel_message(local_ms(), bytes);
    pump();
}

void Process::datagram(const Bytes& bytes) {
    replica_.on_datagram(local_ms(), bytes);
    pump();
}

void Process::arbiter_answer(Term term, replica::ArbiterAnswer answer) {
    replica_.on_arbiter(local_ms(), term, answer);
    pump();
}

void Process::renewed(Term term, replica::Renewal answer) {
    replica_.on_renewed(local_ms(), term, answer, "another process has claimed a newer term");
    pump();
}

void Process::hand_over() {
    if (replica_.hand_over(local_ms())) world_.say(id_, "hand-over");
    pump();
}

void Process::set_policy(replica::Policy policy) {
    (void)replica_.set_policy(local_ms(), policy);
    pump();
}

void Process::diverge() {
    replica_.on_divergence(local_ms(), LogPos(history_.size()), machine_.icount(), record::kMemoryDiffers);
    pump();
}

// --- Actions of host and channel ---

void Process::act(replica::SendChannel& action) {
    if (channel_ != 0) world_.send_channel(*this, action.bytes.take_joined());
}
void Process::act(replica::SendDatagram& action) {
    world_.send_datagram(*this, replica_.status(0).peer, action.bytes);
}
void Process::act(replica::CloseChannel&) {
    if (channel_ != 0) world_.close_channel(*this);
    channel_ = 0;
}
void Process::act(replica::Claim& action) {
    world_.claim(id_, host_, id_, action.term,
                 [this, term = action.term](replica::ArbiterAnswer answer) { arbiter_answer(term, answer); });
}
void Process::act(replica::RenewTerm& action) {
    world_.renew(id_, host_, id_, action.term,
                 [this, term = action.term](replica::Renewal answer) { renewed(term, answer); });
}
void Process::act(replica::AskForBackup&) { world_.ask_for_backup(*this); }
void Process::act(replica::Say& action) { world_.say(id_, action.sentence); }
void Process::act(replica::Halt& action) {
    world_.say(id_, "halts: " + action.sentence);
    running_ = false;
    alive_ = false;
    Counts& counts = world_.counts();
    counts.lost += action.reason == replica::HaltReason::kLost;
    counts.handed_over += action.reason == replica::HaltReason::kHandedOver;
    counts.diverged += action.reason == replica::HaltReason::kDiverged;
    counts.dismissed += action.reason == replica::HaltReason::kDismissed;
    counts.power_offs += action.reason == replica::HaltReason::kPoweredOff;
    if (action.reason != replica::HaltReason::kPoweredOff) return;
    if (!held_.empty()) world_.checker().fail("nothing lost", "the guest went off with outputs still held");
    world_.powered_off();
}

// --- The owner's guest ---

void Process::start() {
    running_ = true;
    note_owner();
    schedule_slice();
}

void Process::schedule_slice() {
    if (std::exchange(slicing_, true)) return;
    Micros length = world_.random().between(2 * kMillisecond, 6 * kMillisecond);
    world_.after(length, id_, [this, length] {
        slicing_ = false;
        if (!running_ || ended_) return;
        machine_.run(machine_.icount() + length * kInstructionsPerMicro * speed_permille_ / 1000);
        slice();
        if (alive_ && running_) schedule_slice();
    });
}

/// The end of a slice: inputs are delivered, the log is sent.
void Process::slice() {
    take_outputs();
    while (!inputs_.empty() && !machine_.off()) {
        ToyEntry entry = inputs_.front();
        inputs_.pop_front();
        deliver(entry);
    }
    if (++slices_ % 16 == 0) append(EntryKind::kStateHash, {machine_.hash(), 0, 0});
    bool off = machine_.off() && !ended_;
    if (off) {
        ended_ = true;
        append(EntryKind::kEnd, {});
    }
    replica_.on_flush(local_ms(), machine_.icount(),
                      held_.empty() ? replica::Flush::kIfDue : replica::Flush::kNow);
    if (off) replica_.on_guest_off(local_ms());
    pump();
}

LogPos Process::append(EntryKind kind, std::array<uint64_t, 3> numbers) {
    LogPos position(history_.size());
    history_.push_back({kind, machine_.icount(), numbers});
    Bytes bytes;
    if (replica_.wants_log()) {
        ByteWriter out(bytes);
        history_.back().encode(out);
    }
    replica_.on_entry(local_ms(), position, kind, std::move(bytes));
    return position;
}

void Process::deliver(ToyEntry entry) {
    entry.icount = machine_.icount();
    append(entry.kind, entry.numbers);
    machine_.deliver(entry);
    take_outputs();
}

void Process::take_outputs() {
    for (const ToyOutput& output : machine_.take_outputs()) {
        if (output.kind == EffectKind::kDiskRead) {
            submit({output, {}});
            continue;
        }
        Held held{output, append(EntryKind::kOutput, {output.number, 0, 0}), world_.now()};
        replica::OutputFate fate = replica_.on_output(local_ms(), held.entry);
        if (fate == replica::OutputFate::kRelease && held_.empty())
            let_out(held);
        else if (fate != replica::OutputFate::kDrop)
            held_.push_back(held);
    }
}

void Process::let_out(const Held& held) {
    if (held.output.kind == EffectKind::kDiskWrite) return submit(held);
    world_.effect(*this, held.entry, held.output);
}

void Process::submit(const Held& request) {
    issued_.insert(request.output.request);
    uint64_t number = next_disk_number_++;
    bool write = request.output.kind == EffectKind::kDiskWrite;
    uint64_t block = request.output.sector / kBlockSectors * kBlockSectors;
    disk_queue_.add(number, write ? disk::Access::kWrite : disk::Access::kRead, block, kBlockSectors);
    disk_requests_.emplace(number, request);
    end_round_soon();
}

void Process::end_round_soon() {
    if (std::exchange(round_ends_soon_, true)) return;
    world_.after(world_.random().between(0, kRound), id_, [this] {
        round_ends_soon_ = false;
        fill_ring(world_.planted(PlantedBug::kLateWrite) ? LastLook::kForgotten : LastLook::kTaken);
    });
}

void Process::fill_ring(LastLook look) {
    auto may_write = [&](uint64_t number) {
        bool may =
            look == LastLook::kForgotten || replica_.may_release(disk_requests_.at(number).entry, local_ms());
        world_.counts().kept_writes += !may;
        return may;
    };
    while (with_kernel_ < kRingEntries) {
        std::optional<uint64_t> number = disk_queue_.next(may_write);
        if (!number) break;
        ++with_kernel_;
        const Held& request = disk_requests_.at(*number);
        if (request.output.kind == EffectKind::kDiskWrite)
            world_.effect(*this, request.entry, request.output);
        world_.submit(*this, *number, request.output);
    }
    world_.counts().disk_waits += disk_queue_.size() - with_kernel_;
}

void Process::act(replica::ReleaseOutputs& action) {
    while (!held_.empty() && held_.front().entry < action.up_to) {
        if (!replica_.may_release(held_.front().entry, local_ms()))
            return replica_.on_left(held_.front().entry);
        let_out(held_.front());
        held_.pop_front();
    }
    replica_.on_left(action.up_to);
}

void Process::request(uint64_t number, uint64_t sector, Operation operation) {
    if (!replica::is_owner(replica_.state())) return;
    inputs_.push_back({EntryKind::kNetworkReceive, {}, {number, sector, static_cast<uint64_t>(operation)}});
}

void Process::power_off() {
    if (replica::is_owner(replica_.state())) inputs_.push_back({EntryKind::kPowerControl, {}, {}});
}

void Process::disk_done(uint64_t number, uint64_t value) {
    uint64_t disk_request = disk_requests_.extract(number).mapped().output.request;
    issued_.erase(disk_request);
    disk_queue_.finish(number);
    --with_kernel_;
    fill_ring(world_.planted(PlantedBug::kSubmitUnasked) ? LastLook::kForgotten : LastLook::kTaken);
    inputs_.push_back({EntryKind::kDiskCompletion, {}, {disk_request, value, 0}});
    if (quiescing_) check_quiesced();
}

void Process::act(replica::StopVm& action) {
    running_ = false;
    if (action.reason == replica::StopReason::kBufferFull) {
        ++world_.counts().full_buffers;
        return;
    }
    quiescing_ = true;
    quiet_ = action.reason == replica::StopReason::kHandOver;
    world_.after(world_.random().between(0, 2 * kMillisecond), id_, [this] { check_quiesced(); });
}

/// Lets the disk requests that were issued end where it must, so that nothing is in flight when the guest is
/// called stopped.
void Process::check_quiesced() {
    if (!quiescing_ || machine_.off()) return;
    for (auto entry = inputs_.begin(); entry != inputs_.end();) {
        if (entry->kind != EntryKind::kDiskCompletion) {
            ++entry;
            continue;
        }
        ToyEntry completion = *entry;
        entry = inputs_.erase(entry);
        deliver(completion);
    }
    replica_.on_flush(local_ms(), machine_.icount());
    if (issued_.empty() || !quiet_) {
        quiescing_ = false;
        replica_.on_vm_stopped(local_ms(), machine_.icount());
    }
    pump();
}

void Process::act(replica::StartVm&) {
    running_ = true;
    quiescing_ = false;
    schedule_slice();
}

void Process::act(replica::SetSpeed& action) {
    ++world_.counts().slow_downs;
    speed_permille_ = action.permille;
}

void Process::act(replica::TakeSnapshot&) {
    Bytes state;
    ByteWriter out(state);
    machine_.save(out);
    Bytes config;
    ByteWriter(config).varint(id_);
    replica_.on_snapshot(local_ms(), machine_.icount(), config.size(), state.size());
    replica_.on_snapshot_part(local_ms(), config);
    size_t half = state.size() / 2;
    replica_.on_snapshot_part(local_ms(), ByteSpan(state).first(half));
    // The guest goes on meanwhile, so log comes between the parts.
    Micros pause = world_.random().between(0, 20 * kMillisecond);
    world_.after(pause, id_, [this, state = std::move(state), half, channel = channel_] {
        if (channel != channel_) return;
        replica_.on_snapshot_part(local_ms(), ByteSpan(state).subspan(half));
        pump();
    });
}

// --- The backup's guest ---

void Process::act(replica::StoreSnapshot& action) {
    if (action.offset == 0) stored_.clear();
    stored_.insert(stored_.end(), action.bytes.begin(), action.bytes.end());
}

void Process::act(replica::LoadSnapshot& action) {
    uint64_t primary = ByteReader(action.config).varint();
    const std::vector<ToyEntry>& log = world_.history_of(primary);
    history_.assign(log.begin(), log.begin() + static_cast<ptrdiff_t>(action.position.value()));
    CHECK(to_replay_.empty() || to_replay_.front().icount >= action.icount, "log from before the snapshot");
    received_ = std::max(received_, action.position);
    complete_ = std::max(complete_, action.icount);
    ByteReader in(stored_);
    machine_.load(in);
    world_.after(world_.random().between(kMillisecond, 40 * kMillisecond), id_, [this] {
        loaded_ = true;
        replica_.on_loaded(local_ms(), {});
        pump();
        schedule_replay();
    });
}

void Process::act(replica::ReplayLog& action) {
    ByteReader in(action.entries);
    if (!loaded_ && to_replay_.empty()) received_ = std::max(received_, action.first);
    for (uint64_t i = 0; i < action.count; ++i) to_replay_.push_back(ToyEntry::decode(in));
    CHECK(in.ok() && in.remaining() == 0 && action.first == received_, "a group of entries is damaged");
    received_ = action.first + action.count;
    if (action.complete > complete_) complete_ = action.complete;
    schedule_replay();
}

void Process::schedule_replay() {
    if (!loaded_ || std::exchange(replaying_, true)) return;
    world_.after(world_.random().between(kMillisecond, kReplayStep), id_, [this] {
        replaying_ = false;
        if (loaded_) replay();
    });
}

void Process::replay() {
    uint64_t budget = kReplayStep * kInstructionsPerMicro * replay_permille_ / 1000;
    Icount limit = machine_.icount() + budget;
    while (!to_replay_.empty() && to_replay_.front().icount <= limit) {
        machine_.run(to_replay_.front().icount);
        replay_entry(to_replay_.front());
        to_replay_.pop_front();
    }
    Icount end = to_replay_.empty() ? complete_ : to_replay_.front().icount;
    machine_.run(std::min(limit, end));
    bool more = !to_replay_.empty() || (machine_.icount() < complete_ && !machine_.off());
    replica_.on_replayed(local_ms(), LogPos(history_.size()), machine_.icount());
    pump();
    if (alive_ && loaded_ && more) schedule_replay();
}

void Process::replay_entry(const ToyEntry& entry) {
    history_.push_back(entry);
    machine_.deliver(entry);
    for (const ToyOutput& output : machine_.take_outputs())
        if (output.kind != EffectKind::kDiskRead) dropped_.push_back(output);
    if (entry.kind == EntryKind::kOutput) {
        bool same = !dropped_.empty() && dropped_.front().number == entry.numbers[0];
        if (!same) return world_.checker().diverged(id_);
        if (dropped_.front().kind == EffectKind::kPacket)
            recent_.push_back({dropped_.front(), LogPos(history_.size() - 1)});
        if (recent_.size() > kRecentPackets) recent_.pop_front();
        dropped_.pop_front();
    }
    if (entry.kind == EntryKind::kStateHash && entry.numbers[0] != machine_.hash())
        world_.checker().diverged(id_);
}

void Process::act(replica::GoLive& action) {
    CHECK(action.position.value() <= history_.size(), "a process goes live beyond its log");
    loaded_ = false;
    running_ = true;
    to_replay_.clear();
    dropped_.clear();
    machine_.take_outputs();
    if (!may_act()) recent_.clear();  // its claim was answered so late that others may have started the VM
    for (const Held& held : recent_) {
        bool left = held.entry < action.left_before;
        ++(left ? world_.counts().left : world_.counts().sent_again);
        if (left)
            world_.checker().said_to_have_left(id_, replica_.term(), held.output);
        else
            world_.effect(*this, held.entry, held.output);
    }
    recent_.clear();
    for (const ToyOutput& output : machine_.in_flight()) submit({output, {}});
    schedule_slice();
}

}  // namespace lockstep::sim
