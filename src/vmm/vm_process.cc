// SPDX-License-Identifier: Apache-2.0
#include "vmm/vm_process.h"

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "base/log.h"
#include "host/thread_priority.h"
#include "record/entry_codec.h"
#include "record/entry_table.h"
#include "vmm/cpu_choice.h"

namespace lockstep::vmm {

using pair::traffic::kBounds;
using pair::traffic::Traffic;

namespace {

/// How often the guest's networks are looked at.
constexpr uint64_t kLinkLookNs = 200 * host::kNsPerMs;

}  // namespace

VmProcess::~VmProcess() {
    snapshot_writer_.reset();  // it takes what is the vCPU thread's
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
    for (Produced& produced : made.produced) std::visit([this](auto& one) { take(one); }, produced);
    session_->on_batch_end(made.send_log ? replica::Flush::kNow : replica::Flush::kIfDue);
    if (vcpu_->waiting_input() < kBounds.few_inputs_bytes) backends_->resume_inputs();
    if (vcpu_->waiting_typed() < kBounds.little_typed_bytes) backends_->resume_console();
    set_wanted();
}

/// Packets may wait for room among the inputs, a backup or a file for the entries.
void VmProcess::set_wanted() {
    EntriesWanted wanted = EntriesWanted::kNo;
    if (recording_ || guest_->wants_log()) wanted = EntriesWanted::kSoon;
    if (backends_->inputs_paused()) wanted = EntriesWanted::kAtHalt;
    vcpu_->want_entries(wanted);
    vcpu_->group_outputs(Traffic::group_ns(guest_->wants_log()));
}

void VmProcess::take(EntryMade& made) {
    const record::Entry& entry = *made.entry;
    if (entry.kind == record::EntryKind::kStateHash) ++checkpoints_;
    if (recording_ && !only_snapshot_ && recording_->has_begun()) recording_->append(entry);
    log_meter_.count(entry.kind, record::encoded_size(entry, entry.icount));
    if (entry.kind == record::EntryKind::kNetworkReceive)
        backends_->packets_entered(entry.device, made.position);
    session_->on_entry(made.position, entry);
}

void VmProcess::take(OutputMade& made) {
    note_output(made.output);
    if (!made.live) return session_->on_replayed_output(made.position, std::move(made.output));
    if (made.output.as<bus::Packets>() || made.output.as<bus::DiskRequest>()) cpu_latency_.traffic();
    session_->on_output(made.position, made.made_ns, std::move(made.output));
}

/// What an operator is told of a guest that may have gone silent.
void VmProcess::note_output(const bus::Output& output) {
    const auto* printed = output.as<bus::ConsoleBytes>();
    if (!printed && !output.as<bus::Packets>() && !output.as<bus::DiskRequest>()) return;
    last_output_ns_ = loop_.now_ns();
    if (printed) console_watch_.printed(output.device, printed->bytes, last_output_ns_);
}

void VmProcess::take(ProgressMade& made) {
    session_->on_progress(made.icount);
    if (is_recorded()) recording_->flush();
}

void VmProcess::take(Replayed& made) {
    checkpoints_ = made.checkpoints;
    session_->on_replayed(made.position, made.icount);
}

void VmProcess::take(drive::Divergence& made) {
    session_->on_divergence(made.sentence, made.position, made.icount, made.parts);
}

void VmProcess::take(GuestOff&) { session_->on_guest_off(); }

/// On a backup, of the log that has come.
void VmProcess::replayed_entry(const record::Entry& entry) {
    log_meter_.count(entry.kind, record::encoded_size(entry, entry.icount));
    if (drive::is_traffic(entry.kind)) cpu_latency_.traffic();
}

// --- What the host brings ---

void VmProcess::add_input(drive::Input input) {
    if (drive::is_traffic(input.kind)) cpu_latency_.traffic();
    if (input.kind == record::EntryKind::kNetworkReceive) packet_came();
    vcpu_->add_input(std::move(input));
    if (vcpu_->waiting_typed() > kBounds.much_typed_bytes) backends_->pause_console();
    if (vcpu_->waiting_input() > kBounds.many_inputs_bytes) {
        backends_->pause_inputs();
        set_wanted();
    }
}

/// For a guest that runs here.
void VmProcess::packet_came() {
    uint64_t now_ns = loop_.now_ns();
    pair::traffic::Sleeper guest{.slept_long = vcpu_->is_idle(now_ns),
                                 .elsewhere = vcpu_->processor() != host::current_processor()};
    traffic_.packet_came(backends_->traffic().packets_in, guest, now_ns);
}

bool VmProcess::polls() const {
    size_t held = session_ && session_->gate() ? session_->gate()->held() : 0;
    return traffic_.polls(held, vcpu_->is_awake(), loop_.now_ns());
}

uint64_t VmProcess::rest_ns() const {
    if (!session_ || !session_->is_live()) return 0;
    return traffic_.rest_ns(vcpu_->is_awake(), backends_->in_flight(), loop_.now_ns());
}

void VmProcess::on_timer() {
    drain_vcpu();
    session_->on_time();
    prefer_when_waited_for();
    update_meters();
    mind_links();
    if (session_->phase() != pair::Phase::kOver) start_timer();
}

/// Outputs and heartbeats wait for this thread. For that of a backup whose copy is only coming nobody does, and it has
/// much to do: it mustn't take a processor from the guests of its host.
void VmProcess::prefer_when_waited_for() {
    bool comes = !session_->replica() || session_->replica()->state() < replica::State::kReplaying;
    if (preferred_ || (session_->phase() == pair::Phase::kBackup && comes)) return;
    preferred_ = true;
    host::prefer_this_thread();
}

void VmProcess::update_meters() {
    uint64_t copied = guest_->clone_progress().sent;
    if (copied < std::exchange(copied_pages_, copied)) copy_rate_ = {};
    copy_rate_.set(loop_.now_ns(), copied * kPageSize);
    log_rate_.set(loop_.now_ns(), link_.bytes_sent());
    if (link_.link()) session_->set_round_trip(link_.link()->round_trip_ns());
    if (is_recorded()) recording_->flush();
    cpu_rate_.set(loop_.now_ns(), vcpu_->cpu_ns());
}

void VmProcess::mind_links() {
    uint64_t now_ns = loop_.now_ns();
    if (!session_->replica() || now_ns < look_at_links_ns_) return;
    look_at_links_ns_ = now_ns + kLinkLookNs;
    backends_->look_at_links();
    session_->on_links(static_cast<uint8_t>(backends_->links_lost()));
}

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

VmStatus::Copy VmProcess::copy_status() const {
    VmStatus::Copy copy;
    const VcpuThread::ClonePauses& pauses = vcpu_->clone_pauses();
    copy.cut_ns = pauses.cut_ns;
    copy.longest_pause_ns = std::max(pauses.cut_ns.load(), pauses.longest_other_ns.load());
    copy.waited_ns = pauses.waited_ns;
    const replica::Replica* replica = session_->replica();
    if (!replica) return copy;
    if (replica->state() == replica::State::kLoading) {
        copy.phase = "coming";
        copy.bytes_done = session_->loaded_bytes();
    }
    if (replica->state() != replica::State::kSynchronising) return copy;
    const pair::CloneOut& out = session_->clone_out();
    const memory::Clone::Progress& progress = guest_->clone_progress();
    copy.phase = pair::name_of(out.phase());
    copy.round = out.round();
    copy.bytes_done = progress.sent * kPageSize;
    copy.bytes_of = (progress.sent + progress.left + progress.written) * kPageSize;
    copy.bytes_per_second = copy_rate_.per_second(loop_.now_ns());
    if (copy.bytes_per_second >= 1)
        copy.seconds_left = static_cast<double>(copy.bytes_of - copy.bytes_done) / copy.bytes_per_second;
    return copy;
}

VmStatus VmProcess::status() const {
    VmStatus status;
    status.name = settings_.name;
    status.started = session_->replica() != nullptr;
    if (status.started) status.replica = session_->replica()->status(now_ms());
    if (!arbiter_->exists()) status.replica.why = "its configuration has no section [protection]";
    status.guest = guest_status();
    status.settings = &settings_;
    status.link_faults = backends_->link_faults();
    status.peer = link_.is_open() ? link_.link()->peer() : "";
    status.security = environment_.security.kind;
    if (environment_.confinement) status.confined = environment_.confinement->text();
    status.ignored_datagrams = link_.ignored_datagrams();
    if (session_->is_live() && !link_.is_open()) status.no_backup_why = seeker_->failure();
    status.copy = copy_status();
    status.icount = session_->complete().value();
    status.log_bits_per_second = 8 * log_rate_.per_second(loop_.now_ns());
    status.log_bytes = link_.bytes_sent();
    for (record::EntryKind kind : record::entry_kinds()) {
        const LogMeter::Kind& figures = log_meter_.of(kind);
        if (figures.entries)
            status.entries.push_back({std::string(record::entry_name(kind)), figures.entries, figures.bytes});
    }
    if (const pair::OutputGate* gate = session_->gate()) {
        status.held_outputs = gate->held();
        status.waits = gate->waits();
        status.link_round_trip_ns = gate->round_trip_ns();
    }
    status.checkpoints = checkpoints_;
    status.traffic = backends_->traffic();
    status.engine = vcpu_->engine_report();
    status.careful = session_->is_careful();
    status.console = backends_->console_place();
    status.recording = is_recorded() ? recording_->path() : "";
    status.snapshot = snapshot_outcome_;
    status.uptime_ms = (loop_.now_ns() - started_ns_) / host::kNsPerMs;
    if (session_->live_since_ns())
        status.live_ms = (loop_.now_ns() - *session_->live_since_ns()) / host::kNsPerMs;
    return status;
}

Result<void> VmProcess::protect(const std::string& host) {
    if (!arbiter_->exists())
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
    return session_->protect();
}

Result<void> VmProcess::unprotect() {
    TRY(session_->unprotect());
    seeker_->give_up();
    return {};
}

Result<void> VmProcess::hand_over() { return session_->hand_over(); }

Result<void> VmProcess::power(record::PowerAction action) {
    add_input(drive::make_input(0, record::PowerControl{action}));
    return {};
}

void VmProcess::switch_off(const std::string& sentence) {
    if (!session_->is_live()) return session_->end(Ending::Kind::kDismissed, sentence);
    if (!session_->replica()->waits_for_arbiter()) return (void)power(record::PowerAction::kPowerOff);
    // A failure, not a power-off: the term isn't marked as free, so a start elsewhere waits for the proof that it needs.
    session_->end(Ending::Kind::kFailed,
                  fmt::format("{}; the guest is off, and what it wrote and sent last is lost, since the "
                              "arbiter is out of reach",
                              sentence));
}

void VmProcess::stop_and_end(const std::string& sentence) {
    if (!session_->is_live()) return session_->end(Ending::Kind::kDismissed, sentence);
    vcpu_->end_log(record::EndReason::kStopped, sentence);
    vcpu_->call([this, sentence](machine::Machine&, const drive::DriverCounts&, LogPos) {
        vcpu_->report([this, sentence] { session_->end(Ending::Kind::kPoweredOff, sentence); });
    });
}

}  // namespace lockstep::vmm
