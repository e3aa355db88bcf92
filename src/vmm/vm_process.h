// SPDX-License-Identifier: Apache-2.0
// One VM process: the machine on its vCPU thread, the replica's decisions, and the host's backends, joined on
// one event loop.
//
//        vCPU thread                         I/O thread (the event loop)
//     +---------------+   inputs      +--------------------------------------------+
//     | Machine       | <------------ | Backends: disks, TAP, console, random      |
//     |  drive::LiveDriver or| --- log ----> | Replica: who may do what                   |  <---> PairLink to the
//     |  drive::Replayer     | --- outputs-> | OutputGate: outputs wait here              |        other side
//     +---------------+               | CpuLatency, ThreadPlacement, AnswerPoll,   |  ----> FileRecording
//                                     |  InputModeration: wake-ups that are quick, |
//                                     |  or not needed                             |
//                                     +--------------------------------------------+  <---> Arbiter
//
// Life cycle
//     owner:   start_owner(): folder, backends, [arbiter: claim a term], machine -> runs
//     backup:  start_backup(): folder, backends; the replica asks for the machine, the log and going live
//     both:    ended() once: the guest is off, or this side has no business any more. Then the process exits.
//
// Every replica event is followed by act(), which carries out what the replica wants, in order.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "host/arbiter.h"
#include "host/cpu_latency.h"
#include "host/event_loop.h"
#include "host/last_words.h"
#include "host/runtime_folder.h"
#include "host/thread_placement.h"
#include "replica/replica.h"
#include "replica/starter.h"
#include "vmm/answer_poll.h"
#include "vmm/backends.h"
#include "vmm/backup_seeker.h"
#include "vmm/console_watch.h"
#include "vmm/file_recording.h"
#include "vmm/input_moderation.h"
#include "vmm/log_meter.h"
#include "vmm/machine_factory.h"
#include "vmm/output_gate.h"
#include "vmm/pair_link.h"
#include "vmm/settings.h"
#include "vmm/vcpu_thread.h"
#include "vmm/vm_status.h"

namespace lockstep::vmm {

/// Where and how a VM process runs on this host.
struct Environment {
    std::string runtime_base;  ///< of the runtime folders
    std::string this_host;     ///< this host's entry in protection.hosts; empty: found by its address
    replica::Caution caution = replica::Caution::kWatch;  ///< of an owner's start
    bool terminal = false;                                ///< there is a terminal for a console of that kind
    std::string record_path;                              ///< record from power-on to this file; empty: don't
    std::function<void()> started;                        ///< the guest runs (an owner's); optional
};

/// How a VM process ended.
struct Ending {
    enum class Kind : uint8_t {
        kPoweredOff,  ///< the guest is off
        kHandedOver,  ///< the guest goes on elsewhere, as wanted
        kDismissed,   ///< a backup that isn't wanted any more
        kLost,        ///< the other side owns the guest
        kFailed,      ///< it couldn't start, or can't go on
    };
    Kind kind = Kind::kFailed;
    std::string sentence;
};

/// The bounds that follow from a configuration.
replica::Timing timing_of(const ProtectionSettings& protection);
/// This build, as two sides compare it.
Result<std::string> own_build_text();

class VmProcess {
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
    ~VmProcess();
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
    /// Ends the recording and gives its path.
    Result<std::string> stop_recording();
    /// The way out for whoever started the process: switches the guest off, on both sides; a backup just
    /// ends.
    void switch_off(const std::string& sentence);
    /// Ends the guest here and now, with a recording's end mark and a last state hash: for `lockstep record`.
    void stop_and_end(const std::string& sentence);
    /// Ends this process without a word to the other side, as a failure would: for tests of a fail-over.
    [[noreturn]] void crash();
    const host::RuntimeFolder& folder() const { return folder_; }

  private:
    VmProcess(host::EventLoop& loop, MachineFactory& factory, const VmSettings& settings,
              const Environment& environment, host::RuntimeFolder folder, uint64_t self, Ended ended);

    // vm_start.cc
    Result<void> open(bool terminal);
    Result<void> end_recording(Ending::Kind kind);
    void look_elsewhere(size_t candidate);
    void run_first(Term term, uint64_t leased_from_ms);
    void go(Term term, uint64_t leased_from_ms);
    void start_loop_timer();
    replica::Config replica_config() const;
    Introduction introduction() const;
    void fail(const std::string& sentence);
    void end(Ending::Kind kind, const std::string& sentence);
    void finish_ending(const Ending& ending, unsigned attempts);

    // vm_claim.cc: the VM's terms at the arbiter
    void prove_that_nobody_owns_it();
    void tick_start();
    void act_start();
    void carry_out_start(const replica::LookAtTerm& action);
    void carry_out_start(const replica::Claim& action);
    void carry_out_start(const replica::RenewTerm& action);
    void carry_out_start(const replica::StartGuest& action);
    void carry_out_start(const replica::GiveUp& action);
    void carry_out_start(const replica::Say& action);
    void set_free(Ending::Kind kind);

    // vm_process.cc: what the vCPU thread made
    void drain_vcpu();
    void set_wanted();
    void start_log_timer();
    void take(EntryMade& made);
    void take(OutputMade& made);
    void take(ProgressMade& made);
    void take(Replayed& made);
    void take(drive::Divergence& made);
    void take(GuestOff& made);
    void take(Report& made) { made.run(); }
    void note_output(const bus::Output& output);
    void remember_packets(OutputMade& made);
    void add_input(drive::Input input);
    void expect_answer();
    bool polls() const;
    uint64_t rest_ns() const;
    void on_timer();
    void update_meters();
    void mind_links();
    VmStatus::Guest guest_status() const;
    void prepare_last_words();
    bool keeps_hashes() const;
    Result<void> open_recording(const std::string& path);
    void recording_failed(const Error& why);

    // vm_actions.cc: what the replica wants
    void act();
    void carry_out(replica::SendChannel& action);
    void carry_out(replica::SendDatagram& action);
    void carry_out(replica::CloseChannel& action);
    void carry_out(replica::Claim& action);
    void carry_out(replica::RenewTerm& action);
    void carry_out(replica::ReleaseOutputs& action);
    void carry_out(replica::StopVm& action);
    void carry_out(replica::StartVm& action);
    void carry_out(replica::SetSpeed& action);
    void carry_out(replica::TakeSnapshot& action);
    void carry_out(replica::StoreSnapshot& action);
    void carry_out(replica::LoadSnapshot& action);
    void carry_out(replica::ReplayLog& action);
    void carry_out(replica::BeCareful& action);
    void carry_out(replica::GoLive& action);
    void carry_out(replica::AskForBackup& action);
    void carry_out(replica::Halt& action);
    void carry_out(replica::Say& action);
    void attach(std::unique_ptr<PairLink> link);
    void channel_closed(host::CloseCause cause, const Error& reason);
    void release_link();
    void wait_until_quiet(uint64_t stop, Icount icount);
    void send_snapshot();
    ByteSpan snapshot_part() const;

    uint64_t now_ms() const { return loop_.now_ns() / host::kNsPerMs; }

    host::EventLoop& loop_;
    MachineFactory& factory_;
    VmSettings settings_;
    Environment environment_;
    host::RuntimeFolder folder_;
    Ended ended_;
    uint64_t vm_ = 0;    ///< replica::Config::vm
    uint64_t self_ = 0;  ///< replica::Config::self
    std::string build_;
    SharedBytes configuration_;
    uint64_t configured_ns_ = 0;           ///< when, of the loop's clock
    std::vector<std::string> candidates_;  ///< other hosts of the VM

    host::CpuLatency cpu_latency_;
    host::ThreadPlacement placement_;  ///< of the I/O thread
    AnswerPoll answer_poll_;
    InputModeration input_moderation_;
    std::unique_ptr<Backends> backends_;
    std::unique_ptr<host::Arbiter> arbiter_;
    std::optional<replica::Replica> replica_;
    std::unique_ptr<OutputGate> gate_;
    host::LastWords last_words_;
    std::optional<std::pair<replica::State, Term>> words_are_for_;
    std::unique_ptr<PairLink> link_;
    std::unique_ptr<BackupSeeker> seeker_;
    std::unique_ptr<Greeting> greeting_;
    std::unique_ptr<replica::Starter> starter_;
    Term owned_;  ///< won by this process's start
    std::unique_ptr<FileRecording> recording_;
    std::string recording_failure_;  ///< why the last one ended early; empty: it didn't
    host::Timer timer_;
    host::Timer log_timer_;  ///< when gathered entries must be sent
    bool log_timer_runs_ = false;

    bool live_ = false;  ///< the guest runs here
    bool ending_ = false;
    bool careful_ = false;  ///< the engine does without its optimisations
    bool acting_ = false;
    uint64_t stop_ = 0;  ///< number of the StopVm that waits for a quiet guest
    Icount complete_;
    Bytes snapshot_;            ///< owner: on its way; backup: as received
    size_t snapshot_sent_ = 0;  ///< of the configuration and the snapshot
    bool snapshot_leaves_ = false;
    std::deque<OutputMade> recent_packets_;  ///< of a backup: those that may not have left go again
    uint64_t last_log_ns_ = 0;               ///< backup: when the log last came
    ConsoleWatch console_watch_;
    uint64_t last_output_ns_ = 0;    ///< 0: none yet
    uint64_t look_at_links_ns_ = 0;  ///< when to do so again
    uint64_t links_lost_ns_ = 0;     ///< since when, or since it was handed over in vain; 0: they aren't
    RateMeter cpu_rate_;             ///< of the vCPU's thread, ns a second
    LogMeter log_meter_;
    RateMeter log_rate_;
    uint64_t earlier_links_bytes_ = 0;
    /// Links and the arbiter: what must have gone out before the process ends.
    std::shared_ptr<unsigned> closing_ = std::make_shared<unsigned>(0);
    uint64_t live_since_ns_ = 0;
    uint64_t started_ns_ = 0;
    uint64_t checkpoints_ = 0;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

    std::unique_ptr<VcpuThread> vcpu_;  // last: its thread ends first
};

}  // namespace lockstep::vmm
