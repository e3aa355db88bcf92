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
#include "host/thread_priority.h"
#include "vmm/host_list.h"
#include "vmm/settings_check.h"
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

std::string identity_text(const record::CpuIdentity& cpu) {
    return fmt::format("{} family {} model {} features {:x} mxcsr {:x} arithmetic {:x}", cpu.vendor,
                       cpu.family, cpu.model, cpu.features.bits, cpu.mxcsr_mask, cpu.arithmetic);
}

}  // namespace

replica::Timing timing_of(const ProtectionSettings& protection) {
    replica::Timing timing;
    timing.heartbeat_ms = protection.heartbeat_ms;
    timing.failure_ms = protection.failure_ms;
    timing.lease_ms = protection.failure_ms * 3 / 5;
    timing.margin_ms = protection.failure_ms * 2 / 5;
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
      started_ns_(loop.now_ns()) {
    std::weak_ptr<bool> alive = alive_;
    auto notify = [this, alive] {
        loop_.post([this, alive] {
            if (!alive.expired()) drain_vcpu();
        });
    };
    vcpu_ = std::make_unique<VcpuThread>(
        factory_, VcpuThread::Hooks{.notify = notify, .sleeps = [this] { loop_.end_rest(); }});
    host::prefer_this_thread();  // outputs and heartbeats wait for it
    loop_.poll_while([this, alive] { return !alive.expired() && polls(); });
    loop_.rest_for([this, alive] { return alive.expired() ? 0 : rest_ns(); });
}

/// What owner and backup need alike.
Result<void> VmProcess::open(bool terminal) {
    build_ = TRY(own_build_text());
    TRY(check_resources(settings_));
    if (!settings_.protection.hosts.empty()) {
        if (std::optional<Error> bad = timing_of(settings_.protection).invalid()) return *bad;
        arbiter_ = TRY(host::create_folder_arbiter(
            loop_, {.folder = settings_.protection.arbiter,
                    .claimant = claimant_name(self_),
                    .host = environment_.this_host.empty() ? host::own_name() : environment_.this_host}));
    }
    seeker_ = std::make_unique<BackupSeeker>(loop_, candidates_);
    Backends::Hooks hooks{
        .input = [this](drive::Input input) { add_input(std::move(input)); },
        .escape = [this] { switch_off("the terminal was left with Ctrl-]"); },
        .may_write = [this](LogPos entry) { return replica_ && replica_->may_release(entry, now_ms()); }};
    backends_ = TRY(Backends::create(loop_, settings_, {folder_.console(), terminal}, std::move(hooks)));
    return {};
}

// --- An owner ---

Result<std::unique_ptr<VmProcess>> VmProcess::start_owner(host::EventLoop& loop, MachineFactory& factory,
                                                          const VmSettings& settings,
                                                          const Environment& environment, Ended ended) {
    StartCheck check = check_start(settings, environment.this_host, factory);
    if (!check.obstacles.empty()) return Error(check.obstacles.front());
    auto folder = TRY(host::RuntimeFolder::create(environment.runtime_base, settings.name));
    std::unique_ptr<VmProcess> vm(new VmProcess(loop, factory, settings, environment, std::move(folder),
                                                random_number(), std::move(ended)));
    vm->candidates_ = std::move(check.others);
    vm->vm_ = random_number();
    vm->configured_ns_ = check.configured_ns;
    vm->configuration_ = std::move(check.configuration);
    TRY(vm->open(environment.terminal));
    if (!environment.record_path.empty()) TRY(vm->open_recording(environment.record_path));
    if (!vm->arbiter_)
        vm->run_first(Term(1), 0);
    else if (environment.caution == replica::Caution::kForce)
        vm->prove_that_nobody_owns_it();
    else
        vm->look_elsewhere(0);
    return vm;
}

/// The VM must not run twice: asks the other hosts one after the other, which finds a backup too. A host that
/// can't be asked is no obstacle: it may be down for good, and the owner's lease at the arbiter is the proof.
void VmProcess::look_elsewhere(size_t candidate) {
    if (candidate >= candidates_.size()) return prove_that_nobody_owns_it();
    Introduction question = introduction();
    question.purpose = Purpose::kQuery;
    greeting_ = std::make_unique<Greeting>(
        loop_, candidates_[candidate], question, kQueryTimeoutNs,
        [this, candidate](Result<std::unique_ptr<PairLink>> link, const Answer& answer) {
            greeting_.reset();
            if (link.ok())
                return fail(fmt::format("VM {} runs on {} already ({}); stop it there, or use it there",
                                        settings_.name, candidates_[candidate], answer.sentence));
            look_elsewhere(candidate + 1);
        });
}

void VmProcess::run_first(Term term, uint64_t leased_from_ms) {
    vcpu_->create(configuration_, settings_.engine, std::nullopt,
                  [this, term, leased_from_ms](Result<void> made) {
                      if (!made) return fail(made.error().message());
                      go(term, leased_from_ms);
                  });
}

void VmProcess::go(Term term, uint64_t leased_from_ms) {
    // Not while it only starts: then it may claim a term at any moment.
    if (arbiter_)
        if (Result<void> told = folder_.write_claimant({claimant_name(self_), settings_.protection.arbiter});
            !told)
            log_warning("{}", told.error().message());
    replica_.emplace(replica::Replica::solo(replica_config(), term, LogPos(0), nullptr, leased_from_ms));
    if (recording_) recording_->begin(configuration_, std::nullopt, LogPos(0), Icount(0));
    gate_ = std::make_unique<OutputGate>(
        *replica_, [this] { return now_ms(); },
        [this](const bus::Output& output, LogPos entry) { backends_->submit(output, entry); });
    live_ = true;
    live_since_ns_ = loop_.now_ns();
    backends_->let_inputs_in();
    uint64_t hash_ns = keeps_hashes() ? settings_.protection.hash_ms * host::kNsPerMs : 0;
    // The real-time clock is of the moment of the configuration; what has passed since counts as guest time.
    uint64_t behind_ns = loop_.now_ns() - configured_ns_;
    vcpu_->go_live(LogPos(0), hash_ns, behind_ns, [](const std::vector<bus::Output>&) {});
    log_info("VM {} runs, in term {}", settings_.name, term.value());
    if (environment_.started) environment_.started();
    on_timer();
}

// --- A backup ---

Result<std::unique_ptr<VmProcess>> VmProcess::start_backup(host::EventLoop& loop, MachineFactory& factory,
                                                           const Introduction& introduction,
                                                           std::unique_ptr<PairLink>& link,
                                                           const Environment& environment, Ended ended) {
    auto settings = TRY(record::decode_fields<VmSettings>(introduction.settings, "the settings of the VM"));
    TRY(check_foreign(settings));
    uint64_t self = random_number();
    host::Claimant claimant{claimant_name(self), settings.protection.arbiter};
    auto folder = TRY(host::RuntimeFolder::create(environment.runtime_base, settings.name, claimant));
    std::unique_ptr<VmProcess> vm(
        new VmProcess(loop, factory, settings, environment, std::move(folder), self, std::move(ended)));
    vm->candidates_ = hosts_beside_backup(settings.protection.hosts, environment.this_host);
    vm->vm_ = introduction.vm;
    TRY(vm->open(false));
    if (!vm->arbiter_)
        return error("VM {} names no arbiter; a backup can't serve without one", settings.name);
    TRY(link->set_peer_udp_port(introduction.udp_port));
    vm->replica_.emplace(replica::Replica::backup(vm->replica_config()));
    vm->gate_ = std::make_unique<OutputGate>(
        *vm->replica_, [raw = vm.get()] { return raw->now_ms(); },
        [raw = vm.get()](const bus::Output& output, LogPos entry) { raw->backends_->submit(output, entry); });
    link->send(encode_answer({.accepted = true, .sentence = {}, .udp_port = link->udp_port()}));
    vm->attach(std::move(link));
    vm->on_timer();
    return vm;
}

// --- Both ---

replica::Config VmProcess::replica_config() const {
    replica::Config config;
    config.vm = vm_;
    config.self = self_;
    config.vm_name = settings_.name;
    config.build = build_;
    config.cpu = identity_text(host::host_cpu_identity());
    config.policy = candidates_.empty() ? replica::Policy::kAlone : replica::Policy::kProtect;
    config.buffer_bytes = settings_.protection.log_buffer;
    // The kernel and the initial RAM disk lie in the guest's memory, as do the data of writes in flight, of
    // which the state holds a copy.
    config.most_config_bytes = settings_.memory_bytes + kSmallStateBytes;
    config.most_state_bytes = 2 * settings_.memory_bytes + kSmallStateBytes;
    config.timing = timing_of(settings_.protection);
    config.tenure = arbiter_ ? replica::Tenure::kLeased : replica::Tenure::kUnlimited;
    return config;
}

Introduction VmProcess::introduction() const {
    return {.purpose = Purpose::kProtect,
            .build = build_,
            .cpu = host::host_cpu_identity(),
            .vm_name = settings_.name,
            .vm = vm_,
            .udp_port = 0,
            .settings = record::encode_fields(settings_),
            .term = replica_ ? replica_->term() : Term(0),
            .claimant = claimant_name(self_)};
}

void VmProcess::start_loop_timer() {
    uint64_t period_ms = std::max<uint64_t>(settings_.protection.heartbeat_ms / 2, 1);
    timer_ = loop_.call_after(period_ms * host::kNsPerMs, [this] { on_timer(); });
}

void VmProcess::fail(const std::string& sentence) { end(Ending::Kind::kFailed, sentence); }

void VmProcess::end(Ending::Kind kind, const std::string& sentence) {
    if (std::exchange(ending_, true)) return;
    timer_.reset();
    log_timer_.reset();
    backends_->stop();
    set_free(kind);
    if (Result<void> recorded = end_recording(kind); !recorded && kind == Ending::Kind::kPoweredOff)
        return finish_ending({Ending::Kind::kFailed, recorded.error().message()}, kLastWordsAttempts);
    finish_ending({kind, sentence}, kLastWordsAttempts);
}

/// Fails where the process was started to record, and the recording isn't whole.
Result<void> VmProcess::end_recording(Ending::Kind kind) {
    if (recording_ && recording_->has_begun()) {
        record::EndReason reason =
            kind == Ending::Kind::kPoweredOff ? record::EndReason::kPowerOff : record::EndReason::kStopped;
        if (Result<void> finished = recording_->finish(complete_, reason); !finished)
            recording_failed(finished.error());
    }
    recording_.reset();
    if (recording_failure_.empty() || environment_.record_path.empty()) return {};
    return error("the recording {} is cut short: {}", environment_.record_path, recording_failure_);
}

/// Last words to the other side leave before the process does, if they can.
void VmProcess::finish_ending(const Ending& ending, unsigned attempts) {
    timer_ = loop_.call_after(kLastWordsPauseNs, [this, ending, attempts] {
        if (*closing_ > 0 && attempts > 0) return finish_ending(ending, attempts - 1);
        ended_(ending);
    });
}

}  // namespace lockstep::vmm
