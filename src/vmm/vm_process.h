// SPDX-License-Identifier: Apache-2.0
// One VM process: a session (pair/session.h), joined to a vCPU thread, the host's backends, a link and an
// arbiter on one event loop.
//
//        vCPU thread                         I/O thread (the event loop)
//     +---------------+   inputs      +--------------------------------------------+
//     | Machine       | <------------ | Backends: disks, TAP, console, random      |
//     |  LiveDriver or| --- log ----> | Session: who may do what, when outputs     |  <---> PairLink to the
//     |  Replayer     | --- outputs-> |   leave, copies of the guest, the end      |        other side
//     +---------------+               | CpuLatency, ThreadPlacement, Traffic:      |  ----> FileRecording
//                                     |   wake-ups that are quick, or not needed   |
//                                     +--------------------------------------------+  <---> Arbiter
//
// What is decided is decided in the session. Here are what only a real process has: settings and files, the
// search for a host, recordings, figures for people, and how threads wake each other up.
//
// Life cycle
//     owner:   start_owner(): folder, backends, [other hosts: does it run there?], session -> runs
//     backup:  start_backup(): folder, backends, session, link
//     both:    ended() once: the session is over, and its last words have left. Then the process exits.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "host/cpu_latency.h"
#include "host/event_loop.h"
#include "host/runtime_folder.h"
#include "host/thread_placement.h"
#include "pair/session.h"
#include "pair/traffic/traffic.h"
#include "vmm/allowances.h"
#include "vmm/backends.h"
#include "vmm/backup_seeker.h"
#include "vmm/confinement.h"
#include "vmm/console_watch.h"
#include "vmm/file_recording.h"
#include "vmm/link_security.h"
#include "vmm/log_meter.h"
#include "vmm/machine_factory.h"
#include "vmm/session_ports.h"
#include "vmm/settings.h"
#include "vmm/snapshot_writer.h"
#include "vmm/vcpu_thread.h"
#include "vmm/vm_status.h"

namespace lockstep::vmm {

/// Where and how a VM process runs on this host.
struct Environment {
    std::string runtime_base;  ///< of the runtime folders
    LinkSecurity security;     ///< of the links to other hosts
    std::string this_host;     ///< this host's entry in protection.hosts; empty: found by its address
    replica::Caution caution = replica::Caution::kWatch;  ///< of an owner's start
    bool terminal = false;                                ///< there is a terminal for a console of that kind
    std::string record_path;                              ///< record from power-on to this file; empty: don't
    std::string from;               ///< a snapshot that an owner goes on from; empty: power-on
    std::function<void()> started;  ///< the guest runs (an owner's); optional
    std::function<Result<Allowances>()> allowances;  ///< what a backup's owner may name here, as of now
    /// How the process gives up rights; an owner has begun it. Null: it doesn't.
    std::shared_ptr<Confinement> confinement;
    /// A backup knows its settings, and the process has one thread yet; optional.
    std::function<void(const VmSettings&)> before_threads;
};

/// How a VM process ended.
using Ending = pair::Ending;

/// The bounds that follow from a configuration.
replica::Timing timing_of(const ProtectionSettings& protection);
/// This build, as two sides compare it.
Result<std::string> own_build_text();

class VmProcess : private pair::Host, private pair::Clock {
  public:
    using Ended = std::function<void(const Ending&)>;

    /// Starts a VM that this process owns. `ended` comes once, on the loop.
    static Result<std::unique_ptr<VmProcess>> start_owner(host::EventLoop& loop, MachineFactory& factory,
                                                          const VmSettings& settings,
                                                          const Environment& environment, Ended ended);
    /// Serves as the backup of the owner at the other end of `link`, which it takes over and answers, unless
    /// it fails.
    static Result<std::unique_ptr<VmProcess>> start_backup(host::EventLoop& loop, MachineFactory& factory,
                                                           const Introduction& introduction,
                                                           std::unique_ptr<PairLink>& link,
                                                           const Environment& environment, Ended ended);
    ~VmProcess() override;
    VmProcess(const VmProcess&) = delete;
    VmProcess& operator=(const VmProcess&) = delete;

    // --- The operator's actions (control/actions.h says when each is legal) ---

    VmStatus status() const;
    /// Wants a backup on `host` ("address:port"), or on any of protection.hosts where it is empty.
    Result<void> protect(const std::string& host);
    Result<void> unprotect();
    /// The backup takes over at the instruction at which this side stops.
    Result<void> hand_over();
    Result<void> power(record::PowerAction action);
    /// Records from now on to a file that doesn't exist yet.
    Result<void> start_recording(const std::string& path);
    /// Copies the VM as it is now to a file that doesn't exist yet. VmStatus::snapshot says how far that is.
    Result<void> snapshot(const std::string& path);
    /// Ends the recording and gives its path.
    Result<std::string> stop_recording();
    /// The way out for whoever started the process: switches the guest off, on both sides; a backup just
    /// ends. Where the guest is off, but the arbiter is out of reach, the process ends without the guest's last outputs.
    void switch_off(const std::string& sentence);
    /// Ends the guest here and now, with a recording's end mark and a last state hash: for `lockstep record`.
    void stop_and_end(const std::string& sentence);
    /// Ends this process without a word to the other side, as a failure would: for tests of a fail-over.
    [[noreturn]] void crash();
    /// For this host's daemon, if it looks after the VM and the guest ran here.
    void leave_ending(const Ending& ending);
    const host::RuntimeFolder& folder() const { return folder_; }

  private:
    VmProcess(host::EventLoop& loop, MachineFactory& factory, const VmSettings& settings,
              const Environment& environment, host::RuntimeFolder folder, uint64_t self, Ended ended);

    // vm_start.cc
    Result<void> open(const Backends::Places& places, pair::Config config);
    void look_elsewhere(size_t candidate);
    void give_up_rights();
    void start_timer();
    pair::Config session_config() const;
    Introduction introduction() const;
    void finish_ending(const Ending& ending, unsigned attempts);

    // vm_start.cc: what the session asks for
    uint64_t now_ns() const override { return loop_.now_ns(); }
    void wake(uint64_t at_ns) override;
    void ask_for_backup() override;
    void went_live() override;
    void outputs_left() override { traffic_.outputs_left(loop_.now_ns()); }
    void ended(const Ending& ending) override;
    void say(LogLevel level, const std::string& sentence) override;

    // vm_process.cc: what the vCPU thread made
    void drain_vcpu();
    void set_wanted();
    void take(EntryMade& made);
    void take(OutputMade& made);
    void take(ProgressMade& made);
    void take(Replayed& made);
    void take(drive::Divergence& made);
    void take(GuestOff& made);
    void take(Report& made) { made.run(); }
    void note_output(const bus::Output& output);
    void replayed_entry(const record::Entry& entry);
    void add_input(drive::Input input);
    void packet_came();
    bool polls() const;
    uint64_t rest_ns() const;
    void on_timer();
    void prefer_when_waited_for();
    void update_meters();
    void mind_links();
    VmStatus::Guest guest_status() const;
    VmStatus::Copy copy_status() const;
    bool is_recorded() const { return recording_ && !only_snapshot_ && recording_->tells_start(); }

    // vm_recording.cc
    enum class Extent : uint8_t { kThisMoment, kOn };
    Result<void> begin_file(const std::string& path, Extent extent);
    void write_snapshot(memory::Clone& clone, VcpuThread::Cut made);
    void snapshot_written(const Result<void>& outcome, ByteSpan state);
    void end_snapshot_clone();
    void give_up_file();
    Result<void> open_recording(const std::string& path);
    void recording_failed(const Error& why);
    Result<void> end_recording(Ending::Kind kind);

    host::EventLoop& loop_;
    MachineFactory& factory_;
    VmSettings settings_;
    Environment environment_;
    host::RuntimeFolder folder_;
    Ended ended_;
    uint64_t vm_ = 0;    ///< replica::Config::vm
    uint64_t self_ = 0;  ///< replica::Config::self
    std::string build_;
    bool was_live_ = false;
    bool named_ = false;                   ///< its folder says what it is called at the arbiter
    std::vector<std::string> candidates_;  ///< other hosts of the VM

    host::CpuLatency cpu_latency_;
    host::ThreadPlacement placement_;  ///< of the I/O thread
    pair::traffic::Traffic traffic_;
    Leaving leaving_ = std::make_shared<unsigned>(0);
    host::OrphanFrames orphans_;
    LinkPort link_{leaving_, orphans_};
    std::unique_ptr<VcpuGuest> guest_;
    std::unique_ptr<Backends> backends_;
    std::unique_ptr<ArbiterPort> arbiter_;
    std::unique_ptr<BackupSeeker> seeker_;
    std::unique_ptr<Greeting> greeting_;
    std::unique_ptr<FileRecording> recording_;
    std::string recording_failure_;  ///< why the last one ended early; empty: it didn't
    bool only_snapshot_ = false;     ///< recording_ ends where it begins
    std::string snapshot_outcome_;   ///< of the last one: VmStatus::snapshot
    std::unique_ptr<SnapshotWriter> snapshot_writer_;
    host::Timer timer_;
    host::Timer wake_timer_;

    ConsoleWatch console_watch_;
    uint64_t last_output_ns_ = 0;    ///< 0: none yet
    uint64_t look_at_links_ns_ = 0;  ///< when to do so again
    RateMeter cpu_rate_;             ///< of the vCPU's thread, ns a second
    LogMeter log_meter_;
    RateMeter log_rate_;
    RateMeter copy_rate_;
    uint64_t copied_pages_ = 0;
    bool preferred_ = false;  ///< this thread goes before those that compute
    uint64_t started_ns_ = 0;
    uint64_t checkpoints_ = 0;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

    std::unique_ptr<pair::Session> session_;
    std::unique_ptr<VcpuThread> vcpu_;  // last: its thread ends first
};

}  // namespace lockstep::vmm
