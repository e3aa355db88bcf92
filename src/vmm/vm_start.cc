// SPDX-License-Identifier: Apache-2.0
// How a VM process starts, as an owner or as a backup, and how it ends.
#include "base/hash.h"
#include "base/log.h"
#include "host/clock.h"
#include "host/datagram.h"
#include "host/files.h"
#include "host/host_cpu.h"
#include "host/random.h"
#include "host/sockets.h"
#include "machine/machine.h"
#include "record/packets.h"
#include "vmm/cpu_choice.h"
#include "vmm/host_list.h"
#include "vmm/settings_check.h"
#include "vmm/snapshot_loader.h"
#include "vmm/start_check.h"
#include "vmm/vm_process.h"

namespace lockstep::vmm {

namespace {

/// More than a configuration or a state takes beside what lies in the guest's memory.
constexpr uint64_t kSmallStateBytes = 64 << 20;
constexpr uint64_t kQueryTimeoutNs = 500 * host::kNsPerMs;
constexpr uint64_t kLastWordsPauseNs = 5 * host::kNsPerMs;
constexpr unsigned kLastWordsAttempts = 100;

uint64_t random_number() {
    uint64_t number = 0;
    host::fill_random({reinterpret_cast<uint8_t*>(&number), sizeof number});
    return number | 1;
}

/// A process's name at the arbiter.
std::string claimant_name(uint64_t self) { return fmt::format("{:016x}", self); }

Bytes orphans_datagram(ByteSpan words, size_t network, std::span<const ByteSpan> packets) {
    auto device = static_cast<uint16_t>(machine::kFirstNetwork + network);
    return replica::encode_orphans(words, device, record::encode_packets(packets));
}

std::string identity_text(const record::CpuIdentity& cpu) {
    return fmt::format("{} family {} model {} features {:x} mxcsr {:x} arithmetic {:x}", cpu.vendor,
                       cpu.family, cpu.model, cpu.features.bits, cpu.mxcsr_mask, cpu.arithmetic);
}

std::string_view end_name(Ending::Kind kind) {
    using enum Ending::Kind;
    if (kind == kPoweredOff) return "powered off";
    return kind == kHandedOver || kind == kLost ? "elsewhere" : "failed";
}

}  // namespace

replica::Timing timing_of(const ProtectionSettings& protection) {
    replica::Timing timing;
    timing.heartbeat_ms = protection.heartbeat_ms;
    timing.failure_ms = protection.failure_ms;
    timing.lease_ms = protection.failure_ms * 3 / 5;
    timing.drift_ms = protection.failure_ms / 10;
    timing.margin_ms = protection.failure_ms - timing.lease_ms - timing.drift_ms;
    timing.storage_ms = protection.storage_ms;
    timing.ack_ms = std::max<uint64_t>(timing.ack_ms, 2 * protection.failure_ms);
    timing.lag_slow_ms = protection.lag_ms;
    timing.lag_most_ms = 5 * protection.lag_ms;
    return timing;
}

Result<std::string> own_build_text() {
    record::Identity identity = TRY(own_identity());
    return fmt::format("{} {:016x}", identity.build.version, identity.build.hash);
}

VmProcess::VmProcess(host::EventLoop& loop, MachineFactory& factory, const VmSettings& settings,
                     const Environment& environment, host::RuntimeFolder folder, uint64_t self, Ended ended)
    : loop_(loop),
      factory_(factory),
      settings_(settings),
      environment_(environment),
      folder_(std::move(folder)),
      ended_(std::move(ended)),
      self_(self),
      cpu_latency_(loop, settings.low_latency),
      traffic_(settings.low_latency ? pair::traffic::LowLatency::kYes : pair::traffic::LowLatency::kNo),
      orphans_(orphans_datagram),
      started_ns_(loop.now_ns()) {
    std::weak_ptr<bool> alive = alive_;
    auto notify = [this, alive] {
        loop_.post([this, alive] {
            if (!alive.expired() && session_) drain_vcpu();
        });
    };
    vcpu_ = std::make_unique<VcpuThread>(
        factory_, VcpuThread::Hooks{.notify = notify, .sleeps = [this] { loop_.end_rest(); }});
    loop_.poll_while([this, alive] { return !alive.expired() && polls(); });
    loop_.rest_for([this, alive] { return alive.expired() ? 0 : rest_ns(); });
    guest_ = std::make_unique<VcpuGuest>(
        *vcpu_, settings_,
        VcpuGuest::Hooks{.replayed = [this](const record::Entry& entry) { replayed_entry(entry); },
                         .log_wanted = [this] { set_wanted(); },
                         .recorded = [this] { return recording_ != nullptr; }});
}

/// What owner and backup need alike.
Result<void> VmProcess::open(const Backends::Places& places, pair::Config config) {
    TRY(check_resources(settings_));
    std::unique_ptr<host::Arbiter> arbiter;
    if (!settings_.protection.hosts.empty()) {
        if (std::optional<Error> bad = timing_of(settings_.protection).invalid()) return *bad;
        arbiter = TRY(host::create_folder_arbiter(loop_, {.folder = settings_.protection.arbiter,
                                                          .claimant = claimant_name(self_),
                                                          .host = config.replica.host}));
    }
    arbiter_ = std::make_unique<ArbiterPort>(settings_.name, std::move(arbiter), leaving_);
    seeker_ = std::make_unique<BackupSeeker>(loop_, environment_.security, candidates_);
    Backends::Hooks hooks{
        .input = [this](drive::Input input) { add_input(std::move(input)); },
        .escape = [this] { switch_off("the terminal was left with Ctrl-]"); },
        .may_write = [this](LogPos entry) { return session_ && session_->may_write(entry); },
        .drained = [this] { session_->on_drained(); }};
    backends_ = TRY(Backends::create(loop_, settings_, places, orphans_, std::move(hooks)));
    config.replica.tenure = arbiter_->exists() ? replica::Tenure::kLeased : replica::Tenure::kUnlimited;
    pair::Ports ports{.clock = *this,
                      .guest = *guest_,
                      .link = link_,
                      .outside = *backends_,
                      .arbiter = *arbiter_,
                      .host = *this};
    session_ = std::make_unique<pair::Session>(ports, std::move(config));
    guest_->connect(*session_);
    link_.connect(*session_);
    arbiter_->connect(*session_);
    return {};
}

// --- An owner ---

Result<std::unique_ptr<VmProcess>> VmProcess::start_owner(host::EventLoop& loop, MachineFactory& factory,
                                                          const VmSettings& settings,
                                                          const Environment& environment, Ended ended) {
    StartCheck check = check_start(settings, environment.this_host, environment.security, factory);
    if (!check.obstacles.empty()) return Error(check.obstacles.front());
    auto folder = TRY(host::RuntimeFolder::create(environment.runtime_base, settings.name));
    std::unique_ptr<VmProcess> vm(new VmProcess(loop, factory, check.settings, environment, std::move(folder),
                                                random_number(), std::move(ended)));
    vm->candidates_ = std::move(check.others);
    vm->vm_ = random_number();
    vm->build_ = TRY(own_build_text());
    pair::Config config = vm->session_config();
    config.machine = std::move(check.configuration);
    if (!environment.from.empty()) {
        record::StartInfo start = TRY(read_snapshot_start(environment.from));
        TRY(factory.check_fits(start.configuration, config.machine));
        config.machine = std::move(start.configuration);
        vm->guest_->set_first_state(environment.from);
    }
    config.configured_ns = check.configured_ns;
    TRY(vm->open({vm->folder_.console(), environment.terminal}, std::move(config)));
    if (!environment.record_path.empty()) TRY(vm->open_recording(environment.record_path));
    vm->give_up_rights();
    if (!vm->arbiter_->exists())
        vm->session_->own(Term(1), 0);
    else if (environment.caution == replica::Caution::kForce)
        vm->session_->prove();
    else
        vm->look_elsewhere(0);
    vm->start_timer();
    return vm;
}

/// The VM must not run twice: asks the other hosts one after the other, which finds a backup too. A host that
/// can't be asked is no obstacle: it may be down for good, and the owner's lease at the arbiter is the proof.
void VmProcess::look_elsewhere(size_t candidate) {
    if (candidate >= candidates_.size()) return session_->prove();
    Introduction question = introduction();
    question.purpose = Purpose::kQuery;
    greeting_ = std::make_unique<Greeting>(
        loop_, candidates_[candidate], environment_.security, question, kQueryTimeoutNs,
        [this, candidate](Result<std::unique_ptr<PairLink>> link, const Answer& answer) {
            greeting_.reset();
            if (link.ok())
                return session_->end(
                    Ending::Kind::kFailed,
                    fmt::format("VM {} runs on {} already ({}); stop it there, or use it there",
                                settings_.name, candidates_[candidate], answer.sentence));
            look_elsewhere(candidate + 1);
        });
}

// --- A backup ---

Result<std::unique_ptr<VmProcess>> VmProcess::start_backup(host::EventLoop& loop, MachineFactory& factory,
                                                           const Introduction& introduction,
                                                           std::unique_ptr<PairLink>& link,
                                                           const Environment& environment, Ended ended) {
    auto settings = TRY(record::decode_fields<VmSettings>(introduction.settings, "the settings of the VM"));
    TRY(check_foreign(settings));
    Allowances allowances = TRY(environment.allowances());
    TRY(check_allowances(settings, allowances));
    if (environment.before_threads) environment.before_threads(settings);
    uint64_t self = random_number();
    host::Claimant claimant{claimant_name(self), settings.protection.arbiter};
    auto folder = TRY(host::RuntimeFolder::create(environment.runtime_base, settings.name, claimant));
    std::unique_ptr<VmProcess> vm(
        new VmProcess(loop, factory, settings, environment, std::move(folder), self, std::move(ended)));
    vm->candidates_ = hosts_beside_backup(settings.protection.hosts, environment.this_host);
    vm->vm_ = introduction.vm;
    vm->build_ = TRY(own_build_text());
    TRY(vm->open({vm->folder_.console(), false, allowances.folders}, vm->session_config()));
    if (!vm->arbiter_->exists())
        return error("VM {} names no arbiter; a backup can't serve without one", settings.name);
    TRY(link->set_peer_udp_port(introduction.udp_port));
    vm->give_up_rights();
    vm->named_ = true;
    vm->session_->back_up();
    link->send(encode_answer({.accepted = true, .sentence = {}, .udp_port = link->udp_port()}));
    vm->link_.attach(std::move(link));
    vm->on_timer();
    return vm;
}

// --- Both ---

pair::Config VmProcess::session_config() const {
    pair::Config session;
    session.caution = environment_.caution;
    session.link_loss =
        settings_.protection.hand_over_on_link_loss ? pair::LinkLoss::kHandOver : pair::LinkLoss::kStay;
    session.clone_pace.bytes_per_second = settings_.protection.copy_rate;
    replica::Config& config = session.replica;
    config.vm = vm_;
    config.self = self_;
    config.vm_name = settings_.name;
    config.host = name_of_host(settings_.protection.hosts, environment_.this_host);
    config.build = build_;
    config.cpu = identity_text(host::host_cpu_identity().for_model(cpu_model(settings_)));
    config.policy = candidates_.empty() ? replica::Policy::kAlone : replica::Policy::kProtect;
    config.buffer_bytes = settings_.protection.log_buffer;
    // The kernel and the initial RAM disk lie in the guest's memory, as do the data of writes in flight, of
    // which the state holds a copy.
    config.most_config_bytes = config.most_state_bytes = settings_.memory_bytes + kSmallStateBytes;
    config.timing = timing_of(settings_.protection);
    return session;
}

Introduction VmProcess::introduction() const {
    return {.purpose = Purpose::kProtect,
            .build = build_,
            .cpu = host::host_cpu_identity().for_model(cpu_model(settings_)),
            .vm_name = settings_.name,
            .vm = vm_,
            .udp_port = 0,
            .settings = record::encode_fields(settings_),
            .term = session_->replica() ? session_->replica()->term() : Term(0),
            .claimant = claimant_name(self_)};
}

/// All that takes root's rights is open, and nothing of the guest has run.
void VmProcess::give_up_rights() {
    if (environment_.confinement) environment_.confinement->finish(settings_, folder_.path());
}

void VmProcess::start_timer() {
    timer_ = loop_.call_after(session_->period_ms() * host::kNsPerMs, [this] { on_timer(); });
}

// --- What the session asks for ---

void VmProcess::wake(uint64_t at_ns) {
    wake_timer_ = loop_.call_at(at_ns, [this] { session_->on_wake(); });
}

void VmProcess::ask_for_backup() {
    seeker_->seek(introduction(), [this](std::unique_ptr<PairLink> link) {
        if (!session_->is_live()) return;
        log_info("VM {}: {} serves as its backup", settings_.name, link->peer());
        link_.attach(std::move(link));
    });
}

void VmProcess::went_live() {
    was_live_ = true;
    folder_.mark_live();
    // Not while it only starts: then it may claim a term at any moment.
    if (arbiter_->exists() && !std::exchange(named_, true))
        if (Result<void> told = folder_.write_claimant({claimant_name(self_), settings_.protection.arbiter});
            !told)
            log_warning("{}", told.error().message());
    bool from_power_on = recording_ && !environment_.record_path.empty();
    if (from_power_on) recording_->begin(session_->machine());
    if (environment_.started) environment_.started();
}

void VmProcess::say(LogLevel level, const std::string& sentence) {
    log(level, "VM {}: {}", settings_.name, sentence);
}

// --- The end ---

void VmProcess::ended(const Ending& ending) {
    timer_.reset();
    wake_timer_.reset();
    // Until the switches know where the guest is, packets for it still come here.
    if (ending.kind == Ending::Kind::kHandedOver) orphans_.forward("has handed its guest over");
    Result<void> recorded = end_recording(ending.kind);
    bool cut_short = !recorded && ending.kind == Ending::Kind::kPoweredOff;
    finish_ending(cut_short ? Ending{Ending::Kind::kFailed, recorded.error().message()} : ending,
                  kLastWordsAttempts);
}

void VmProcess::leave_ending(const Ending& ending) {
    // The first line is keeper::End's name.
    if (was_live_) folder_.leave_ending(fmt::format("{}\n{}", end_name(ending.kind), ending.sentence));
}

/// Last words to the other side leave before the process does, if they can.
void VmProcess::finish_ending(const Ending& ending, unsigned attempts) {
    timer_ = loop_.call_after(kLastWordsPauseNs, [this, ending, attempts] {
        if (*leaving_ > 0 && attempts > 0) return finish_ending(ending, attempts - 1);
        ended_(ending);
    });
}

}  // namespace lockstep::vmm
