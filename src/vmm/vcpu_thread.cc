// SPDX-License-Identifier: Apache-2.0
#include "vmm/vcpu_thread.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>

#include "base/check.h"
#include "host/clock.h"
#include "host/limits.h"
#include "host/thread_placement.h"
#include "pair/traffic/bounds.h"
#include "record/entry_table.h"
#include "replica/lag_control.h"
#include "vmm/snapshot_loader.h"

namespace lockstep::vmm {

using pair::traffic::kBounds;

namespace {

/// Entries applied before the work list is looked at again.
constexpr size_t kReplayBatch = 256;

constexpr uint64_t kAheadPauseNs = 1'000'000'000;  ///< before it asks again whether more is wanted
constexpr uint64_t kPlentyBytes = 2ull << 30;      ///< what the host keeps free

constexpr uint32_t kFullSpeed = replica::LagControl::kFullSpeed;

/// Inputs that come through add_input(), unlike the corrections of time.
bool is_from_outside(record::EntryKind kind) {
    return record::entry_class(kind) == record::EntryClass::kInput && kind != record::EntryKind::kTimeRate &&
           kind != record::EntryKind::kTimeAdvance;
}

}  // namespace

VcpuThread::VcpuThread(MachineFactory& factory, Hooks hooks)
    : factory_(factory), hooks_(std::move(hooks)), thread_([this] { main(); }) {
    pthread_setname_np(thread_.native_handle(), "vcpu");
}

VcpuThread::~VcpuThread() {
    {
        std::lock_guard lock(work_mutex_);
        stopping_ = true;
        if (stoppable_) stoppable_->request_stop();
    }
    work_changed_.notify_one();
    thread_.join();
}

// --- Work from the I/O thread ---

/// A sleeping thread is woken up, a running machine is stopped; one that has other work sees to this as well.
void VcpuThread::post(Work work, Hurry hurry) {
    machine::Machine* running = nullptr;
    auto urgency = translate::StopUrgency::kAtOnce;
    {
        std::lock_guard lock(work_mutex_);
        work_.push_back(std::move(work));
        if (busy_ && hurry == Hurry::kNo) return;
        if (busy_) running = stoppable_;
        if (watchful_) urgency = translate::StopUrgency::kAtGlance;
    }
    // The machine lives until the destructor, and that is on this thread. The signal comes without the lock,
    // for which its receiver would have to wait.
    if (running)
        running->request_stop(urgency);
    else
        work_changed_.notify_one();
}

void VcpuThread::create(SharedBytes configuration, const translate::EngineOptions& options,
                        pair::MadeFor purpose, std::function<void(Result<void>)> done,
                        const std::string& from) {
    post([this, configuration = std::move(configuration), options, purpose, from, done] {
        auto make = [&]() -> Result<void> {
            machine_ = TRY(factory_.create(configuration, options, *this, ram_bytes_));
            if (purpose == pair::MadeFor::kCopy)
                loader_ = std::make_unique<memory::PageLoader>(machine_->memory());
            else if (!from.empty())
                counts_ = TRY(load_snapshot(from, *machine_));
            return {};
        };
        Result<void> result = make();
        {
            std::lock_guard lock(work_mutex_);
            stoppable_ = machine_.get();
        }
        report([done, result] { done(result); });
    });
}

void VcpuThread::go_live(LogPos position, uint64_t hash_period_ns, uint64_t behind_ns,
                         std::function<void(std::vector<bus::Output>)> reissue) {
    post([this, position, hash_period_ns, behind_ns, reissue] {
        CHECK(machine_ && mode_ != Mode::kLive);
        if (replayer_) counts_ = replayer_->counts();
        replayer_.reset();
        report([reissue, requests = machine_->unanswered()] { reissue(requests); });
        drive::LiveListener& listener = *this;
        live_ = std::make_unique<drive::LiveDriver>(
            *machine_, drive::LiveOptions{.ram_bytes = ram_bytes_, .hash_period_ns = hash_period_ns},
            position, counts_, listener, host::monotonic_ns(), behind_ns);
        mode_ = Mode::kLive;
        flight_.record(FlightEvent::kLive, machine_->icount(), position.value(), counts_.outputs);
        careful_until_ns_ = host::monotonic_ns() + kCarefulNs;
    });
}

void VcpuThread::be_careful(std::function<void()> over) {
    post([this, over] {
        CHECK(machine_ && mode_ != Mode::kLive);
        careful_over_ = over;
        machine_->set_optimisations(translate::Optimisations::kNone);
    });
}

void VcpuThread::end_care(uint64_t now_ns) {
    if (!careful_over_ || now_ns < careful_until_ns_) return;
    machine_->set_optimisations(translate::Optimisations::kAsWanted);
    report(std::exchange(careful_over_, nullptr));
}

void VcpuThread::start_replay(LogPos position) {
    post([this, position] {
        CHECK(machine_ && mode_ == Mode::kIdle);
        replayer_ = std::make_unique<drive::Replayer>(*machine_, ram_bytes_, position, counts_, stopping_);
        mode_ = Mode::kReplaying;
        flight_.record(FlightEvent::kReplay, machine_->icount(), position.value(), counts_.outputs);
    });
}

void VcpuThread::replay(ReplayChunk chunk) {
    auto shared = std::make_shared<ReplayChunk>(std::move(chunk));
    post([this, shared] { chunks_.push_back(std::move(*shared)); }, Hurry::kNo);
}

void VcpuThread::add_input(drive::Input input) {
    auto shared = std::make_shared<drive::Input>(std::move(input));
    waiting(shared->kind) += shared->payload.size();
    post([this, shared] {
        last_input_ns_ = host::monotonic_ns();
        if (live_)
            live_->add_input(std::move(*shared));
        else
            waiting(shared->kind) -= shared->payload.size();
    });
}

void VcpuThread::set_hash_period(uint64_t ns) {
    post([this, ns] {
        if (live_) live_->set_hash_period(ns);
    });
}

void VcpuThread::pause(std::function<void(Icount)> done) {
    post([this, done] {
        paused_ = true;
        if (live_) live_->deliver_completions();
        report([done, icount = machine_->icount()] { done(icount); });
    });
}

void VcpuThread::resume() {
    post([this] { paused_ = false; });
}

void VcpuThread::set_speed(uint32_t permille) {
    post([this, permille] { permille_ = permille; });
}

void VcpuThread::call(std::function<void(machine::Machine&, const drive::DriverCounts&, LogPos)> work) {
    post([this, work] {
        CHECK(machine_);
        // What came before this call is in the machine before it.
        if (live_ && paused_) live_->deliver_completions();
        if (live_)
            work(*machine_, live_->counts(), live_->position());
        else if (replayer_)
            work(*machine_, replayer_->counts(), replayer_->position());
        else
            work(*machine_, counts_, position_);
    });
}

void VcpuThread::end_log(record::EndReason reason, std::string message) {
    post([this, reason, message] {
        if (mode_ != Mode::kLive) return;
        live_->deliver_completions();
        live_->checkpoint(true);
        live_->end(reason, message);
        mode_ = Mode::kOff;
    });
}

// --- What the vCPU thread makes ---

void VcpuThread::produce(Produced produced, Urgency urgency) {
    bool notify = false;
    {
        std::lock_guard lock(produced_mutex_);
        if (std::holds_alternative<EntryMade>(produced) && !std::exchange(entries_waiting_, true))
            entries_since_ns_ = host::monotonic_ns();
        // Of progress only the newest counts.
        bool same = !produced_.empty() && produced.index() == produced_.back().index();
        if (same &&
            (std::holds_alternative<ProgressMade>(produced) || std::holds_alternative<Replayed>(produced)))
            produced_.back() = std::move(produced);
        else
            produced_.push_back(std::move(produced));
        send_log_ = send_log_ || urgency == Urgency::kAtOnceWithLog;
        notify = urgency != Urgency::kCanWait && !std::exchange(notified_, true);
    }
    if (notify) hooks_.notify();
}

/// The guest has run for a while, or stands still: then nothing more comes that could go along.
void VcpuThread::hand_over_entries(uint64_t now_ns, bool stands) {
    if (entries_may_wait(now_ns, stands)) return;
    bool notify = false;
    {
        std::lock_guard lock(produced_mutex_);
        uint64_t due_ns = stands ? entries_since_ns_ + kBounds.resting_ns
                                 : std::max(entries_since_ns_, awake_since_ns_) + kBounds.entries_ns;
        bool nothing_due = entries_waiting_ ? now_ns < due_ns : stands;
        if (nothing_due && rests()) return;
        // An output's entry may have been taken before the output was there.
        bool something = entries_waiting_ || outputs_wait_;
        if (!something && now_ns - groups_.handed_over_ns() < kBounds.progress_ns) return;
        send_log_ = true;
        notify = (something || !produced_.empty()) && !std::exchange(notified_, true);
    }
    groups_.handed_over(now_ns);
    outputs_wait_ = false;
    if (notify) hooks_.notify();
}

bool VcpuThread::entries_may_wait(uint64_t now_ns, bool stands) const {
    EntriesWanted wanted = entries_wanted_;
    if (outputs_wait_ || wanted == EntriesWanted::kAtHalt) return !stands && gathers(now_ns);
    return wanted == EntriesWanted::kNo || now_ns - groups_.handed_over_ns() < kBounds.entries_ns;
}

/// When entries that wait must be handed over, though the guest sleeps.
uint64_t VcpuThread::entries_due_ns() {
    if (entries_wanted_ == EntriesWanted::kNo) return ~uint64_t{0};
    std::lock_guard lock(produced_mutex_);
    if (!entries_waiting_) return ~uint64_t{0};
    return rests() ? entries_since_ns_ + kBounds.resting_ns : groups_.handed_over_ns() + kBounds.entries_ns;
}

bool VcpuThread::rests() const {
    return entries_wanted_ == EntriesWanted::kSoon && !watchful_ && !outputs_wait_ && !paused_ &&
           permille_ == kFullSpeed;
}

/// Whether there is traffic, and the last hand-over was not long ago.
bool VcpuThread::gathers(uint64_t now_ns) const { return watchful_ && groups_.gathers(now_ns); }

Batch VcpuThread::take() {
    std::lock_guard lock(produced_mutex_);
    notified_ = entries_waiting_ = false;
    return {std::exchange(produced_, {}), std::exchange(send_log_, false)};
}

void VcpuThread::report(std::function<void()> work) { produce(Report{std::move(work)}, Urgency::kAtOnce); }

void VcpuThread::output(bus::Output output) {
    if (live_) {
        live_->output(std::move(output));
    } else if (replayer_) {
        replayer_->count_output();
        produce(OutputMade{replayer_->position(), std::move(output), false, host::monotonic_ns()},
                Urgency::kCanWait);
    } else {
        ++counts_.outputs;
    }
}

void VcpuThread::entry_made(LogPos position, std::shared_ptr<const record::Entry> entry) {
    bool from_outside = is_from_outside(entry->kind);
    flight_.record(FlightEvent::kEntry, entry->icount, static_cast<uint64_t>(entry->kind), entry->device);
    if (from_outside) waiting(entry->kind) -= entry->payload.size();
    // What wakes up the guest after a long sleep mostly has an answer. By then the backup has the input and
    // is awake, and what is done for the answer's entry is warm in the caches: it comes back 60 us sooner.
    bool wanted = entries_wanted_ != EntriesWanted::kNo;
    bool at_once = from_outside && wanted && std::exchange(woke_up_, false);
    produce(EntryMade{position, std::move(entry)}, at_once ? Urgency::kAtOnceWithLog : Urgency::kCanWait);
}

void VcpuThread::output_made(LogPos position, bus::Output output) {
    uint64_t now_ns = host::monotonic_ns();
    flight_.record(FlightEvent::kOutput, machine_->icount(), output.what.index(), output.device);
    if (output.as<bus::Packets>()) groups_.add();
    bool for_outside = bus::changes_outside(output);
    Urgency urgency = Urgency::kAtOnce;
    if (for_outside || bus::is_disk_read(output)) {
        bool with_log = for_outside || outputs_wait_;  // a read ends the waiting of others, too
        outputs_wait_ = gathers(now_ns);
        if (outputs_wait_) {
            urgency = Urgency::kCanWait;
        } else {
            if (with_log) urgency = Urgency::kAtOnceWithLog;
            groups_.handed_over(now_ns);
        }
    }
    produce(OutputMade{position, std::move(output), true, now_ns}, urgency);
}

void VcpuThread::progress(Icount icount) {
    publish_engine_report();
    produce(ProgressMade{icount}, Urgency::kCanWait);
}

void VcpuThread::replayed() {
    uint64_t now_ns = host::monotonic_ns();
    flight_.record(FlightEvent::kReplayed, machine_->icount(), replayer_->position().value(),
                   replayer_->checkpoints());
    bool due = now_ns >= replayed_ns_ + kBounds.replayed_ns;
    if (due) {
        replayed_ns_ = now_ns;
        publish_engine_report();
    }
    unreported_ = !due;
    produce(Replayed{replayer_->position(), machine_->icount(), replayer_->checkpoints()},
            due ? Urgency::kAtOnce : Urgency::kCanWait);
}

void VcpuThread::publish_engine_report() {
    translate::EngineReport report = machine_->engine_report();
    resets_ = live_ ? live_->counts().resets : replayer_ ? replayer_->counts().resets : counts_.resets;
    std::lock_guard lock(engine_mutex_);
    engine_report_ = report;
}

uint64_t VcpuThread::cpu_ns() { return host::thread_cpu_ns(thread_.native_handle()); }

translate::EngineReport VcpuThread::engine_report() const {
    std::lock_guard lock(engine_mutex_);
    return engine_report_;
}

// --- The thread ---

void VcpuThread::main() {
    flight_.dump_on_failed_check();
    while (run_work()) {
        processor_ = host::current_processor();
        switch (mode_) {
            case Mode::kIdle:
            case Mode::kOff:
                wait_until(~uint64_t{0});
                break;
            case Mode::kLive:
                live_step();
                break;
            case Mode::kReplaying:
                replay_step();
                break;
        }
    }
    // The machine is unmade on the thread that made it.
    {
        std::lock_guard lock(work_mutex_);
        stoppable_ = nullptr;
    }
    live_.reset();
    replayer_.reset();
    clone_.reset();
    loader_.reset();
    machine_.reset();
}

/// Does what waits; false: the thread is to end. Leaves busy_ set.
bool VcpuThread::run_work() {
    for (;;) {
        std::vector<Work> work;
        bool watchful = mode_ == Mode::kLive && host::monotonic_ns() - last_input_ns_ < kBounds.busy_ns;
        {
            std::lock_guard lock(work_mutex_);
            if (stopping_) return false;
            work.swap(work_);
            busy_ = work.empty();
            watchful_ = watchful;
        }
        if (work.empty()) return true;
        for (Work& one : work) one();
    }
}

void VcpuThread::wait_until(uint64_t wake_ns) {
    uint64_t now_ns = host::monotonic_ns();
    idle_since_ns_ = now_ns;
    if (hooks_.sleeps) hooks_.sleeps();
    std::unique_lock lock(work_mutex_);
    busy_ = false;
    auto ready = [this] { return stopping_ || !work_.empty(); };
    if (wake_ns == ~uint64_t{0})
        work_changed_.wait(lock, ready);
    else if (wake_ns > now_ns)
        work_changed_.wait_for(lock, std::chrono::nanoseconds(wake_ns - now_ns), ready);
    idle_since_ns_ = kNotIdle;
}

bool VcpuThread::is_idle(uint64_t now_ns) const {
    uint64_t since_ns = idle_since_ns_;
    return now_ns > since_ns && now_ns - since_ns >= kBounds.long_sleep_ns;
}

void VcpuThread::live_step() {
    if (paused_) {
        live_->deliver_completions();
        hand_over_entries(host::monotonic_ns(), true);
        wait_until(entries_due_ns());
        return;
    }
    uint64_t before = host::monotonic_ns(), group_ns = groups_.gathering_ns();
    end_care(before);
    drive::LiveDriver::Step step =
        live_->step(host::monotonic_ns, watchful_ ? kBounds.glance_ns : drive::LiveDriver::kNoGlance,
                    watchful_ && group_ns ? group_ns : drive::LiveDriver::kNoLimit);
    uint64_t after = host::monotonic_ns();
    hand_over_entries(after, step.next != drive::LiveDriver::Next::kAgain || permille_ < kFullSpeed);
    switch (step.next) {
        case drive::LiveDriver::Next::kAgain:
            rest(after - before);
            break;
        case drive::LiveDriver::Next::kSleep:
            give_memory_back();
            wait_until(std::min(step.wake_ns, entries_due_ns()));
            awake_since_ns_ = host::monotonic_ns();
            woke_up_ = awake_since_ns_ - after >= kBounds.long_sleep_ns;
            break;
        case drive::LiveDriver::Next::kPowerOff:
            mode_ = Mode::kOff;
            produce(GuestOff{}, Urgency::kAtOnce);
            break;
    }
}

/// Slows the guest to its share: after running it pauses in proportion.
void VcpuThread::rest(uint64_t ran_ns) {
    if (permille_ >= kFullSpeed || permille_ == 0) return;
    std::chrono::nanoseconds pause(ran_ns * (kFullSpeed - permille_) / permille_);
    std::unique_lock lock(work_mutex_);
    busy_ = false;
    work_changed_.wait_for(lock, pause, [this] { return stopping_.load(); });
}

void VcpuThread::replay_step() {
    if (chunks_.empty()) {
        if (!unreported_ && take_memory_ahead()) return;
        give_memory_back();
        wait_until(unreported_ ? replayed_ns_ + kBounds.replayed_ns : ~uint64_t{0});
        bool due = unreported_ && host::monotonic_ns() >= replayed_ns_ + kBounds.replayed_ns;
        if (due) replayed();
        return;
    }
    ReplayChunk chunk = std::move(chunks_.front());
    chunks_.pop_front();
    drive::ReplayResult result = drive::ReplayResult::kDone;
    size_t applied = 0;
    for (record::Entry& entry : chunk.entries) {
        result = replayer_->apply(entry);
        if (result != drive::ReplayResult::kDone) break;
        if (++applied % kReplayBatch == 0) replayed();
    }
    if (result == drive::ReplayResult::kDone) result = replayer_->catch_up(chunk.complete);
    after_replay(result);
}

/// Takes a piece of the memory that the engine will need, where the guest works and the host has plenty; false: nothing
/// to do.
bool VcpuThread::take_memory_ahead() {
    uint64_t now_ns = host::monotonic_ns();
    if (now_ns < ahead_again_ns_) return false;
    uint64_t cpu_before_ns = cpu_ns();
    bool wanted = work_meter_.works(now_ns, cpu_before_ns) && host::available_memory() > kPlentyBytes;
    bool taken = wanted && machine_->take_memory_ahead();
    work_meter_.leave_out(cpu_ns() - cpu_before_ns);
    if (!taken) ahead_again_ns_ = now_ns + kAheadPauseNs;
    return taken;
}

/// Where the guest has been idle for a while.
void VcpuThread::give_memory_back() {
    uint64_t now_ns = host::monotonic_ns();
    if (!idle_memory_.looks_at(now_ns)) return;
    translate::EngineReport report = machine_->engine_report();
    if (idle_memory_.is_due(now_ns, cpu_ns(), report.hot.bytes + report.cold.bytes))
        machine_->give_memory_back();
}

void VcpuThread::after_replay(drive::ReplayResult result) {
    if (result == drive::ReplayResult::kDiverged) {
        mode_ = Mode::kOff;
        produce(*replayer_->divergence(), Urgency::kAtOnce);
        return;
    }
    replayed();
    if (result == drive::ReplayResult::kPowerOff || result == drive::ReplayResult::kEnded) {
        mode_ = Mode::kOff;
        produce(GuestOff{}, Urgency::kAtOnce);
    }
}

}  // namespace lockstep::vmm
