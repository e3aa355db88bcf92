// SPDX-License-Identifier: Apache-2.0
#include "vmm/vm_process.h"

#include <csignal>
#include <filesystem>

#include "base/log.h"
#include "record/entry_codec.h"
#include "record/entry_table.h"
#include "record/wire_entry.h"

namespace lockstep::vmm {

namespace {

/// Inputs that wait for the guest, in bytes: beyond the first, packets wait in the kernel; below the second
/// they come again.
constexpr uint64_t kManyInputs = 1 << 20;
constexpr uint64_t kFewInputs = 256 << 10;
/// The same for what is typed on the console.
constexpr uint64_t kMuchTyped = 64 << 10, kLittleTyped = 16 << 10;
/// How long the outputs of a busy guest gather at least. One hand-over wakes up a thread here, and with a
/// backup several threads of two hosts.
constexpr uint64_t kGroupNs = 200'000, kGroupForBackupNs = 500'000;
/// A backup that goes live sends so many of its last packets (again), unless they are known to have left: the
/// primary may have died before, and the guest would only send them again after a time-out.
constexpr size_t kRecentPackets = 16;
/// How often the guest's networks are looked at, and how long they must lead nowhere before the guest is
/// handed over for it: a switch that starts again, or a cable put elsewhere, is no reason.
constexpr uint64_t kLinkLookNs = 200 * host::kNsPerMs, kLinkLossNs = 2 * host::kNsPerSecond;

}  // namespace

VmProcess::~VmProcess() {
    vcpu_.reset();
    (void)end_recording(Ending::Kind::kFailed);
}

void VmProcess::crash() {
    std::raise(SIGKILL);
    std::abort();
}

// --- What the vCPU thread made ---

void VmProcess::drain_vcpu() {
    placement_.keep_off(vcpu_->processor());
    Batch made = vcpu_->take();
    for (Produced& produced : made.produced) {
        std::visit([this](auto& one) { take(one); }, produced);
        act();
    }
    if (replica_ && live_) {
        replica_->on_flush(now_ms(), complete_,
                           made.send_log ? replica::Flush::kNow : replica::Flush::kIfDue);
        act();
        start_log_timer();
    }
    if (backends_ && vcpu_->waiting_input() < kFewInputs) backends_->resume_inputs();
    if (backends_ && vcpu_->waiting_typed() < kLittleTyped) backends_->resume_console();
    set_wanted();
}

/// Packets may wait for room among the inputs, a backup or a file for the entries.
void VmProcess::set_wanted() {
    if (!replica_ || !backends_) return;
    EntriesWanted wanted = EntriesWanted::kNo;
    if (recording_ || replica_->wants_log()) wanted = EntriesWanted::kSoon;
    if (backends_->inputs_paused()) wanted = EntriesWanted::kAtHalt;
    vcpu_->want_entries(wanted);
    vcpu_->group_outputs(replica_->wants_log() ? kGroupForBackupNs : kGroupNs);
}

/// What was appended goes in time, though nothing more may come from the vCPU thread.
void VmProcess::start_log_timer() {
    std::optional<uint64_t> due_ms = replica_->log_due_ms();
    if (!due_ms || log_timer_runs_) return;
    log_timer_runs_ = true;
    log_timer_ = loop_.call_at(*due_ms * host::kNsPerMs, [this] {
        log_timer_runs_ = false;
        if (!replica_ || !live_) return;
        replica_->on_flush(now_ms(), complete_, replica::Flush::kIfDue);
        act();
        start_log_timer();
    });
}

void VmProcess::take(EntryMade& made) {
    const record::Entry& entry = *made.entry;
    complete_ = entry.icount;
    if (entry.kind == record::EntryKind::kStateHash) ++checkpoints_;
    if (recording_ && recording_->has_begun()) recording_->append(entry);
    Bytes encoded;
    if (replica_->wants_log()) {
        ByteWriter out(encoded);
        record::encode_wire_entry(out, entry);
    }
    log_meter_.count(entry.kind, record::encoded_size(entry, entry.icount));
    replica_->on_entry(now_ms(), made.position, entry.kind, std::move(encoded));
}

void VmProcess::take(OutputMade& made) {
    bool packets = made.output.kind == bus::OutputKind::kPackets;
    note_output(made.output);
    if (made.live) {
        if (packets || made.output.kind == bus::OutputKind::kDiskRequest) cpu_latency_.traffic();
        gate_->made(made.position, made.made_ns, std::move(made.output));
        if (packets && gate_->held() == 0) answer_poll_.answered(loop_.now_ns());
        return;
    }
    backends_->show(made.output);
    if (packets) remember_packets(made);
}

/// What an operator is told of a guest that may have gone silent.
void VmProcess::note_output(const bus::Output& output) {
    using enum bus::OutputKind;
    bool seen_outside =
        output.kind == kPackets || output.kind == kDiskRequest || output.kind == kConsoleBytes;
    if (!seen_outside) return;
    last_output_ns_ = loop_.now_ns();
    if (output.kind == kConsoleBytes) console_watch_.printed(output.device, output.payload, last_output_ns_);
}

void VmProcess::remember_packets(OutputMade& made) {
    recent_packets_.push_back(std::move(made));
    if (recent_packets_.size() > kRecentPackets) recent_packets_.pop_front();
}

void VmProcess::take(ProgressMade& made) {
    complete_ = made.icount;
    if (recording_ && recording_->has_begun()) recording_->flush();
}

void VmProcess::take(Replayed& made) {
    complete_ = made.icount;
    checkpoints_ = made.checkpoints;
    replica_->on_replayed(now_ms(), made.position, made.icount);
}

void VmProcess::take(drive::Divergence& made) {
    log_error("VM {}: {}", settings_.name, made.sentence);
    replica_->on_divergence(now_ms(), made.position, made.icount, made.parts);
}

void VmProcess::take(GuestOff&) {
    if (live_) replica_->on_guest_off(now_ms());
}

// --- What the host brings ---

void VmProcess::add_input(drive::Input input) {
    if (drive::is_traffic(input.kind)) cpu_latency_.traffic();
    if (input.kind == record::EntryKind::kNetworkReceive) {
        expect_answer();
        input_moderation_.received(backends_->traffic().packets_in, loop_.now_ns());
    }
    vcpu_->add_input(std::move(input));
    if (vcpu_->waiting_typed() > kMuchTyped) backends_->pause_console();
    if (vcpu_->waiting_input() > kManyInputs) {
        backends_->pause_inputs();
        set_wanted();
    }
}

/// A packet has come for a guest that runs here. If it has slept, it probably has an answer.
void VmProcess::expect_answer() {
    uint64_t now_ns = loop_.now_ns();
    bool elsewhere = vcpu_->processor() != host::current_processor();
    if (settings_.low_latency && elsewhere && vcpu_->is_idle(now_ns)) answer_poll_.asked(now_ns);
}

/// Whether the I/O thread looks out for the answer without sleeping. A guest that sleeps again has none.
bool VmProcess::polls() const {
    uint64_t now_ns = loop_.now_ns();
    if (!answer_poll_.waits(now_ns)) return false;
    return gate_->held() || vcpu_->is_awake() || !answer_poll_.expects_work(now_ns);
}

/// How long packets may lie. A guest that sleeps gets them at once, and all guests what their disks have
/// done.
uint64_t VmProcess::rest_ns() const {
    if (!live_ || !vcpu_->is_awake() || backends_->in_flight() > 0) return 0;
    return input_moderation_.rest_ns(loop_.now_ns());
}

void VmProcess::on_timer() {
    drain_vcpu();
    if (ending_) return;
    replica_->on_time(now_ms());
    act();
    update_meters();
    mind_links();
    if (ending_) return;
    start_loop_timer();
}

void VmProcess::update_meters() {
    uint64_t sent = earlier_links_bytes_ + (link_ ? link_->bytes_sent() : 0);
    log_rate_.set(loop_.now_ns(), sent);
    if (link_ && gate_) gate_->set_round_trip(link_->round_trip_ns());
    if (recording_ && recording_->has_begun()) recording_->flush();
    cpu_rate_.set(loop_.now_ns(), vcpu_->cpu_ns());
}

/// Looks at the guest's networks, and hands it over where they lead nowhere here but do on the other side.
void VmProcess::mind_links() {
    uint64_t now_ns = loop_.now_ns();
    if (now_ns < look_at_links_ns_) return;
    look_at_links_ns_ = now_ns + kLinkLookNs;
    backends_->look_at_links();
    auto lost = static_cast<uint8_t>(backends_->links_lost());
    replica_->set_links_lost(lost);
    if (lost == 0) links_lost_ns_ = 0;
    if (lost == 0 || !settings_.protection.hand_over_on_link_loss) return;
    if (links_lost_ns_ == 0) links_lost_ns_ = now_ns;
    replica::Status status = replica_->status(now_ms());
    bool better_there = status.state == replica::State::kProtected && status.peer_links_lost < lost;
    if (!better_there || now_ns - links_lost_ns_ < kLinkLossNs) return;
    links_lost_ns_ = now_ns;
    log_warning("VM {}: it is handed over, because its networks are better on the other side",
                settings_.name);
    if (Result<void> done = hand_over(); !done) log_warning("{}", done.error().message());
}

/// What they are depends on term and peer, and a state follows each.
void VmProcess::prepare_last_words() {
    std::pair now{replica_->state(), replica_->term()};
    if (std::exchange(words_are_for_, now) == now) return;
    const host::SocketAddress* to = link_ ? link_->datagrams_to() : nullptr;
    std::optional<Bytes> words = to ? replica_->last_words() : std::nullopt;
    if (words)
        last_words_.prepare(*to, *words);
    else
        last_words_.forget();
}

bool VmProcess::keeps_hashes() const { return recording_ || replica_->wants_log(); }

// --- The operator ---

VmStatus::Guest VmProcess::guest_status() const {
    uint64_t now_ns = loop_.now_ns();
    VmStatus::Guest guest;
    guest.busy_permille = static_cast<uint64_t>(cpu_rate_.per_second(now_ns) / 1e6);
    if (last_output_ns_) guest.last_output_ms = (now_ns - last_output_ns_) / host::kNsPerMs;
    guest.resets = vcpu_->resets();
    guest.panics = console_watch_.panics();
    guest.last_panic = console_watch_.last_panic();
    if (guest.panics) guest.last_panic_ms = (now_ns - console_watch_.last_panic_ns()) / host::kNsPerMs;
    return guest;
}

VmStatus VmProcess::status() const {
    VmStatus status;
    status.name = settings_.name;
    status.started = replica_.has_value();
    if (replica_) status.replica = replica_->status(now_ms());
    if (!arbiter_) status.replica.why = "its configuration has no section [protection]";
    status.guest = guest_status();
    status.settings = &settings_;
    status.link_faults = backends_->link_faults();
    status.peer = link_ ? link_->peer() : "";
    if (seeker_ && live_ && !link_) status.no_backup_why = seeker_->failure();
    status.icount = complete_.value();
    status.log_bits_per_second = 8 * log_rate_.per_second(loop_.now_ns());
    status.log_bytes = earlier_links_bytes_ + (link_ ? link_->bytes_sent() : 0);
    for (record::EntryKind kind : record::entry_kinds()) {
        const LogMeter::Kind& figures = log_meter_.of(kind);
        if (figures.entries)
            status.entries.push_back({std::string(record::entry_name(kind)), figures.entries, figures.bytes});
    }
    if (gate_) {
        status.held_outputs = gate_->held();
        status.waits = gate_->waits();
        status.link_round_trip_ns = gate_->round_trip_ns();
    }
    status.checkpoints = checkpoints_;
    status.traffic = backends_->traffic();
    status.engine = vcpu_->engine_report();
    status.careful = careful_;
    status.console = backends_->console_place();
    status.recording = recording_ && recording_->has_begun() ? recording_->path() : "";
    status.uptime_ms = (loop_.now_ns() - started_ns_) / host::kNsPerMs;
    if (live_) status.live_ms = (loop_.now_ns() - live_since_ns_) / host::kNsPerMs;
    return status;
}

Result<void> VmProcess::protect(const std::string& host) {
    if (!arbiter_)
        return error(
            "VM {} has no arbiter; name a folder on shared storage in [protection] of its configuration",
            settings_.name);
    if (!host.empty()) {
        TRY(host::SocketAddress::parse(host));
        seeker_->set_candidates({host});
    } else if (candidates_.empty()) {
        return error("protection.hosts names no other host; add one, or name the host to protect to");
    } else {
        seeker_->set_candidates(candidates_);
    }
    TRY(replica_->set_policy(now_ms(), replica::Policy::kProtect));
    replica_->on_time(now_ms());
    act();
    return {};
}

Result<void> VmProcess::unprotect() {
    TRY(replica_->set_policy(now_ms(), replica::Policy::kAlone));
    seeker_->give_up();
    act();
    return {};
}

Result<void> VmProcess::hand_over() {
    TRY(replica_->hand_over(now_ms()));
    act();
    return {};
}

Result<void> VmProcess::power(record::PowerAction action) {
    add_input(drive::make_input(0, record::PowerControl{action}));
    return {};
}

Result<void> VmProcess::start_recording(const std::string& path) {
    if (recording_) return error("VM {} is being recorded to {} already", settings_.name, recording_->path());
    if (replica_->wants_log())
        return error("VM {} is protected: record it while it runs alone (unprotect it first)",
                     settings_.name);
    TRY(open_recording(path));
    vcpu_->call([this, raw = recording_.get()](machine::Machine& machine, const drive::DriverCounts& counts,
                                               LogPos position) {
        auto state = std::make_shared<Bytes>(drive::save_state(machine, counts));
        vcpu_->report([this, raw, state, position, icount = machine.icount()] {
            if (recording_.get() != raw) return;  // it was given up meanwhile
            recording_->begin(configuration_, *state, position, icount);
            vcpu_->set_hash_period(settings_.protection.hash_ms * host::kNsPerMs);
        });
    });
    return {};
}

Result<void> VmProcess::open_recording(const std::string& path) {
    recording_failure_.clear();
    recording_ =
        TRY(FileRecording::create(loop_, path, [this, alive = std::weak_ptr<bool>(alive_)](const Error& why) {
            if (!alive.expired()) recording_failed(why);
        }));
    return {};
}

/// The file keeps what it has, the VM goes on.
void VmProcess::recording_failed(const Error& why) {
    if (!recording_failure_.empty()) return;
    recording_failure_ = why.message();
    log_error("VM {}: the recording ends here: {}", settings_.name, why.message());
    recording_.reset();
}

Result<std::string> VmProcess::stop_recording() {
    if (!recording_) return error("VM {} isn't being recorded", settings_.name);
    if (!recording_->has_begun())
        return error("the recording of VM {} is only beginning; try again", settings_.name);
    std::unique_ptr<FileRecording> recording = std::move(recording_);
    TRY(recording->finish(complete_, record::EndReason::kStopped));
    if (!keeps_hashes()) vcpu_->set_hash_period(0);
    return recording->path();
}

void VmProcess::switch_off(const std::string& sentence) {
    if (live_ && replica_)
        (void)power(record::PowerAction::kPowerOff);
    else
        end(Ending::Kind::kDismissed, sentence);
}

void VmProcess::stop_and_end(const std::string& sentence) {
    if (!replica_ || !live_) return end(Ending::Kind::kDismissed, sentence);
    vcpu_->end_log(record::EndReason::kStopped, sentence);
    vcpu_->call([this, sentence](machine::Machine&, const drive::DriverCounts&, LogPos) {
        vcpu_->report([this, sentence] { end(Ending::Kind::kPoweredOff, sentence); });
    });
}

}  // namespace lockstep::vmm
