// SPDX-License-Identifier: Apache-2.0
// One side of a protected VM, as a pure state machine: primary, backup, and the way from one to the other.
//
// Goals
//   - No output leaves the host before the backup holds the log entry that belongs to it (the output rule).
//   - At no time can two hosts act for one guest (arbiter, terms, and the lease of ADR 1).
//   - Whoever survives goes on with exactly what the outside has seen, and gets a new backup without being
//     asked.
//
// It has no clock, thread or socket. Every event is a call that says what time it is; what is to be done
// comes out of take_actions() (action.h). The vmm and the simulator drive the same code:
//
//     replica.on_channel_message(now_ms(), bytes);
//     for (Action& action : replica.take_actions()) carry_out(std::move(action));
//
// Terms
//   position   number of entries before; entry n has position n. "Received r": entries 0 .. r-1 arrived.
//   output     waits for the position of its kOutput entry: it may leave when that entry has been received.
//   lease      until when a primary may release outputs on the strength of what its backup said.
//   armed      a backup that may claim the guest (state kReplaying and after).
//
// Life cycle of the states: state.h. Decisions about roles: decisions.h. Messages: message.h.
//
// Duties of the caller
//   - one thread; a clock that goes on while the process is stopped (CLOCK_BOOTTIME), read for each call, and
//     after the bytes that the call is about have been read from the socket; on_time() at least every
//     heartbeat_ms / 2.
//   - actions in order, and all of them before the next event of the host (events of the VM may come in a
//     group).
//   - never close the channel of its own accord: call on_channel_closed() first. The other side takes a
//     channel that this side's system has closed as a proof that nothing leaves here any more.
//   - outputs in one queue in order of position; may_release() right before each leaves. A write to a disk
//     may have to wait after that: may_write() right before the host's kernel gets it. On false it stays, and
//     is asked for again after the next event.
//   - one channel at a time: on_channel_open() only in kSolo (after AskForBackup) and in kJoining.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/strong.h"
#include "record/entry.h"
#include "replica/action.h"
#include "replica/decisions.h"
#include "replica/hooks.h"
#include "replica/lag_control.h"
#include "replica/message.h"
#include "replica/state.h"
#include "replica/timing.h"

namespace lockstep::replica {

enum class Policy : uint8_t {
    kProtect,  ///< a lost backup is replaced
    kAlone,    ///< no backup is wanted
};

/// What a piece of a copy is of, in the order in which they go.
enum class ClonePart : uint8_t {
    kConfiguration,
    kPages,  ///< before the cut, and behind the state
    kState,
    kEnd,  ///< an empty piece: all pages have been given
};

/// How the channel ended.
enum class ChannelEnd : uint8_t {
    kPeerClosed,  ///< end of file or reset: the peer's system says that its process has closed it or is gone
    kBroken,      ///< anything else: timed out, no route, damaged bytes
};

/// Whether kPeerClosed may be taken for a proof that the peer's process lets nothing out any more. True of a
/// direct link; a box between the hosts that sends resets on its own makes it false.
enum class PeerClose : uint8_t { kProvesEnd, kProvesNothing };

enum class ArbiterAnswer : uint8_t { kWon, kLost, kUnreachable };

/// What became of a renewal.
enum class Renewal : uint8_t {
    kRenewed,     ///< written, and afterwards no newer term was to be seen
    kSuperseded,  ///< somebody has claimed a newer term
    kUnreachable,
};

/// Whether an owner's term is leased at an arbiter. Without one nobody else can ever own the VM.
enum class Tenure : uint8_t { kUnlimited, kLeased };

struct Config {
    uint64_t vm = 0;    ///< names this run of this guest, on both sides and at the arbiter
    uint64_t self = 0;  ///< names this process, different for each process that ever serves the guest; not 0
    std::string vm_name;  ///< for sentences
    std::string host;     ///< names this process's host, alike whichever process of it says so; not empty
    std::string build;    ///< must be equal on both sides
    std::string cpu;      ///< what the guest can notice of the host's processor; must be equal on both sides
    Policy policy = Policy::kProtect;
    PeerClose peer_close = PeerClose::kProvesEnd;
    Tenure tenure = Tenure::kUnlimited;
    /// Backup: how many bytes of log may wait to be replayed here.
    uint64_t buffer_bytes = 64u << 20;
    /// Backup: how large the configuration and the state of a machine may be that is taken in.
    uint64_t most_config_bytes = 1u << 30;
    uint64_t most_state_bytes = uint64_t{1} << 40;
    Timing timing;
};

/// When what was appended is to be sent.
enum class Flush : uint8_t {
    kNow,    ///< an output waits for it
    kIfDue,  ///< when it has gathered for gather_ms
};

/// What becomes of an output at the moment that the machine makes it.
enum class OutputFate : uint8_t {
    kRelease,  ///< let it out at once (nothing is held before it)
    kHold,     ///< put it at the end of the queue; ReleaseOutputs will come
    kDrop,     ///< a backup's: nothing leaves. Remember a disk request until its completion is replayed.
};

/// No word has come yet of how the guest's networks are on the other side.
inline constexpr uint8_t kLinksUnknown = 255;

/// Figures for people and metrics.
struct Status {
    State state{};
    Term term;
    uint64_t peer = 0;
    LogPos appended;      ///< owner: entries made; backup: entries received
    LogPos acknowledged;  ///< owner: entries that the backup holds
    LogPos replayed;      ///< entries that the backup has executed
    /// How old the oldest entry was that the backup hadn't executed when it last reported
    uint64_t lag_ms = 0;
    uint64_t lag_icount = 0;      ///< instructions that the backup is behind
    uint64_t buffered_bytes = 0;  ///< log that the backup hasn't executed
    uint32_t speed_permille = 1000;
    std::string why;  ///< a sentence: why the state is what it is
    /// Owner: outputs may leave here at this very moment (or wait for the backup alone).
    bool may_act = false;
    uint8_t peer_links_lost = kLinksUnknown;  ///< of the guest's networks, on the backup's host
    /// For how long at most nothing was heard of the other side while each relied on the other, or is now
    uint64_t longest_silence_ms = 0;
};

class Replica {
  public:
    /// The owner of a guest in `term`, which it must have won; `position`: the number of entries already made.
    /// `leased_from_ms`: when the last renewal that succeeded was asked for (0: none has).
    static Replica solo(Config config, Term term, LogPos position, Hooks* hooks = nullptr,
                        uint64_t leased_from_ms = 0);
    /// A process that waits to be made a backup.
    static Replica backup(Config config, Hooks* hooks = nullptr);

    // --- Events of the host ---

    void on_time(uint64_t now_ms);
    /// The channel to the other side is connected (owner: to a would-be backup; backup: to its primary).
    void on_channel_open(uint64_t now_ms);
    void on_channel_closed(uint64_t now_ms, ChannelEnd end);
    /// One whole message.
    void on_channel_message(uint64_t now_ms, ByteSpan bytes);
    void on_datagram(uint64_t now_ms, ByteSpan bytes);
    void on_arbiter(uint64_t now_ms, Term term, ArbiterAnswer answer);
    /// Answers RenewTerm; `detail`: who has the newer term, or why the arbiter is out of reach.
    void on_renewed(uint64_t now_ms, Term term, Renewal answer, const std::string& detail);

    // --- Events of an owner's VM ---

    /// An entry was appended to the log, encoded as it goes to the backup. A kEnd says that the guest is off.
    void on_entry(uint64_t now_ms, LogPos position, record::EntryKind kind, Bytes encoded);
    /// Sends what was appended. `complete`: the guest is at this icount; no later entry takes effect before
    /// it. Call it after a group of entries, at due_ms(), and now and then while the guest runs without
    /// any.
    void on_flush(uint64_t now_ms, Icount complete, Flush flush = Flush::kNow);
    /// The machine made an output whose kOutput entry is `entry` (reported before; any value on a backup).
    OutputFate on_output(uint64_t now_ms, LogPos entry);
    /// Answers ReleaseOutputs: those whose kOutput entry lies before `position` have left. The backup is
    /// told, so that it needn't send them again.
    void on_left(LogPos position);
    /// The guest is stopped, as StopVm wanted it.
    void on_vm_stopped(uint64_t now_ms, Icount icount);
    /// Answers StartClone: so many bytes of the machine's configuration will follow.
    void on_clone_start(uint64_t now_ms, uint64_t config_bytes);
    /// The next bytes of a copy (1 MiB, say), as the channel can take them. None belongs to two parts.
    void on_clone_piece(uint64_t now_ms, ClonePart part, Bytes bytes);
    /// The copy is of this moment: all entries reported so far are in it, those to come aren't. So many bytes
    /// of the state will follow.
    void on_clone_cut(uint64_t now_ms, Icount icount, uint64_t state_bytes);
    /// Nothing can come of this copy, and why. Another is begun.
    void on_clone_void(uint64_t now_ms, const std::string& why);
    /// The guest has switched itself off; its kEnd entry has been reported.
    void on_guest_off(uint64_t now_ms);

    // --- Events of a backup's VM ---

    /// Answers MakeMachine.
    void on_made(uint64_t now_ms, const Result<void>& result);
    /// Answers LoadState, or tells that pages can't be put where they belong.
    void on_loaded(uint64_t now_ms, const Result<void>& result);
    /// Entries before `position` have taken effect, and the machine is at `icount`.
    void on_replayed(uint64_t now_ms, LogPos position, Icount icount);
    /// A state hash differed at the entry `position`; `parts`: of record::StateParts.
    void on_divergence(uint64_t now_ms, LogPos position, Icount icount, uint8_t parts);

    /// So many of the guest's networks lead nowhere on this host.
    void set_links_lost(uint8_t count) { links_lost_ = count; }
    /// When the oldest output that is held was made; empty: none is. Before on_time().
    void set_held_since(std::optional<uint64_t> made_ms) { held_since_ms_ = made_ms; }

    // --- The operator ---

    /// Planned fail-over: the backup takes over at the instruction at which this side stops.
    Result<void> hand_over(uint64_t now_ms);
    /// Dismisses the backup and wants no other (kAlone), or wants one (kProtect).
    Result<void> set_policy(uint64_t now_ms, Policy policy);

    // --- What the caller asks ---

    /// What is to be done, in order; empties the list.
    std::vector<Action> take_actions();
    /// Whether an output whose kOutput entry is `entry` may leave the host at this very moment.
    bool may_release(LogPos entry, uint64_t now_ms) const;
    /// The same of a write to a disk, for which those that a dead primary has submitted must have ended.
    bool may_write(LogPos entry, uint64_t now_ms) const {
        return now_ms >= writes_from_ms_ && may_release(entry, now_ms);
    }
    /// Whether the guest is off, and its owner can't finish: the last outputs wait for an arbiter that is out of reach.
    bool waits_for_arbiter() const;
    /// When on_time() and on_flush() must be called at the latest, beside the usual; empty: nothing is due.
    std::optional<uint64_t> due_ms() const;
    /// The backup holds the entries before this one.
    LogPos acknowledged() const { return primary_.acknowledged; }
    /// Whether entries must be reported (an owner alone need not encode them, only count).
    bool wants_log() const;
    /// A datagram for the moment at which a signal of its own ends this process: made ahead, since nothing can
    /// be made then. Empty: nobody is to be told.
    std::optional<Bytes> last_words() const;
    State state() const { return state_; }
    Term term() const { return term_; }
    Status status(uint64_t now_ms) const;

  private:
    /// What is known of the other side. Stamps are sent_ms and echo_ms of message headers.
    struct Peer {
        uint64_t id = 0;
        bool connected = false;           ///< the channel is open
        uint64_t heard_ms = 0;            ///< own clock at the last sign of life
        uint64_t longest_silence_ms = 0;  ///< between two of them, while each side relied on the other
        uint64_t lost_ms = 0;             ///< own clock when the channel broke; 0: it hasn't
        uint64_t beat_ms = 0;             ///< own clock at the last heartbeat sent
        uint64_t newest_stamp = 0;        ///< the peer's clock, as of its newest message
        uint64_t newest_stamp_at = 0;     ///< own clock when that came
        uint64_t echoed_ms = 0;  ///< own clock when the newest message was sent that the peer has echoed
        /// Primary: own clock up to which outputs could leave, for all that is known
        uint64_t leased_ms = 0;
        uint64_t lease_ms = 0;      ///< backup: the lease that the primary works by
        bool welcome = false;       ///< primary: the backup has answered the greeting
        std::string host;           ///< primary: where the backup is
        uint64_t buffer_bytes = 0;  ///< primary: what the backup can hold
        uint8_t links_lost = kLinksUnknown;
    };
    /// An owner's side of a pair.
    struct Primary {
        LogPos appended;
        Icount complete;       ///< the guest is here
        Icount sent_complete;  ///< the backup was told so
        uint64_t sent_ms = 0;  ///< when the last Log message went out
        Pieces pending;        ///< entries not sent yet
        uint64_t pending_count = 0;
        uint64_t pending_since_ms = 0;  ///< when the first of them was made
        bool pending_ends = false;
        bool log_flows = false;  ///< a backup has (or is being sent) a copy that is cut
        bool loaded = false;     ///< the backup has loaded it, and waits for Protect
        LogPos acknowledged;
        LogPos left_before;       ///< outputs whose entries lie before have left
        uint8_t holds = 0;        ///< one bit for each StopReason that keeps the guest stopped
        bool vm_stopped = false;  ///< hand-over: the guest is stopped, all that it issued has ended
        bool offered = false;     ///< hand-over: the backup was told to go on
        uint64_t hand_over_until_ms = 0;
        bool guest_off = false;
        bool finished = false;  ///< the guest is off and nobody can take over: what is held may leave
        LogPos clone_position;  ///< of the cut
        uint32_t speed = LagControl::kFullSpeed;
        uint64_t ask_at_ms = 0;
    };
    /// A backup's side of a pair.
    struct Backup {
        LogPos received, replayed;
        LogPos left_before;  ///< outputs whose entries lie before have left, as the primary said
        Icount complete, icount;
        bool log_ended = false;
        bool ack_due = false;
        std::deque<std::pair<LogPos, uint64_t>> waiting;  ///< log not executed: up to where, bytes
        uint64_t waiting_bytes = 0;
        bool careful = false;           ///< BeCareful was given
        uint64_t unreported_bytes = 0;  ///< log received since the primary heard that all is executed
        uint64_t reported_ms = 0;       ///< when an acknowledgement was last sent
        uint64_t live_from_ms = 0;      ///< once claimed: no going live before
        uint64_t writes_from_ms = 0;    ///< the same: nor writes to disks before, live or not
        /// How far the copy has come, in the order of the messages.
        enum class Copy : uint8_t { kNone, kConfig, kMaking, kRounds, kCut, kWhole };
        Copy copy = Copy::kNone;
        uint64_t config_bytes = 0, state_bytes = 0;  ///< as announced
        Bytes config, state;                         ///< what has come of them
        LogPos clone_position;
        Icount clone_icount;
    };

    Replica(Config config, Hooks* hooks);

    // replica.cc: time, messages, decisions.
    void advance(uint64_t now_ms);
    /// When entries that gather for a backup must be sent at the latest; empty: none gather.
    std::optional<uint64_t> log_due_ms() const;
    void watch_peer();
    bool admits(const Header& header, const Message& message);
    void receive(const Header& header, Message message);
    Header next_header() const;
    void send(Message message);
    void send_beat();
    void say(LogLevel level, std::string sentence);
    void trigger(Trigger found, std::string detail = {});
    void carry_out(const Decision& decision, const std::string& detail);
    void enter(State state, std::string why);
    void claim();
    void become_solo(Term term, const std::string& why);
    void close_channel();
    void halt(HaltReason reason, const std::string& sentence);
    bool strikes(FaultPoint point) { return hooks_ && hooks_->strikes(point); }
    bool planted(PlantedBug bug) const { return hooks_ && hooks_->planted(bug); }
    bool paired() const {
        return state_ == State::kProtected || state_ == State::kEnding || state_ == State::kHandingOver;
    }
    /// Whether each side relies on the other, so that silence matters.
    bool armed() const { return paired() || state_ == State::kReplaying; }
    bool lease_holds(uint64_t now_ms) const;
    bool lease_has_room() const;
    bool tenure_holds(uint64_t now_ms) const;
    void watch_tenure();
    HostPair hosts_to_tell() const;
    bool hosts_are_told() const;
    void guest_is_off();
    void watch_lease();

    // primary.cc
    void primary_time();
    void send_log();
    void begin_log();
    void hold(StopReason reason);
    void unhold(StopReason reason);
    void mind_the_buffer();
    void apply_lag_control();
    void acknowledged(LogPos received, LogPos replayed, Icount icount);
    void release();
    void try_protect();
    void try_offer();
    void try_finish();
    void handle(const Welcome& message);
    void handle(const Refuse& message);
    void handle(const CloneReady& message);
    void handle(const Loaded& message);
    void handle(const Ack& message);
    void handle(const BackupBeat& message);
    void handle(const Diverged& message);
    void handle(const Live& message);
    void handle(const Gone& message);

    // backup.cc
    void backup_time();
    void leave(HaltReason reason, const std::string& sentence);
    void send_ack();
    void make_when_complete();
    void unfit_copy();
    bool store_waiting(uint64_t bytes);
    void set_live_from(Trigger found);
    void check_ready();
    void go_live();
    void handle(Hello& message);
    void handle(const CloneStart& message);
    void handle(const CloneConfig& message);
    void handle(ClonePages& message);
    void handle(const CloneCut& message);
    void handle(const CloneState& message);
    void handle(const CloneEnd& message);
    void handle(const Protect& message);
    void handle(Log& message);
    void handle(const PrimaryBeat& message);
    void handle(const HandOver& message);
    void handle(const StandDown& message);
    void handle(const Crashed& message);
    void handle(Orphans&) {}  // no message of a process that lives: take_in()
    void take_in(const Header& header, Orphans& message);

    Config config_;
    Hooks* hooks_;
    State state_ = State::kSolo;
    Term term_;
    uint64_t now_ms_ = 0;
    uint64_t awake_ms_ = 0;    ///< when this process last went on after it had been stopped
    uint64_t claimed_ms_ = 0;  ///< when the arbiter was first asked for the next term
    uint64_t renewed_ms_ = 0;  ///< when it was last asked for a renewal
    bool renewing_ = false;    ///< that is under way
    HostPair telling_;         ///< what it says of the VM's hosts
    HostPair told_;  ///< what the newest one that succeeded says, unless one that says else is under way
    uint64_t leased_from_ms_ = 0;  ///< when the newest renewal (or claim) that succeeded was asked for
    bool tenure_over_ = false;     ///< it has been said that the lease of the term is over
    uint64_t writes_from_ms_ = 0;  ///< may_write(): a dead primary's have ended by then
    uint64_t claim_at_ms_ = 0;     ///< while claiming: when to ask again; 0: an answer is awaited
    HaltReason leave_as_ = HaltReason::kDismissed;
    std::string why_;
    uint8_t links_lost_ = 0;
    std::optional<uint64_t> held_since_ms_;
    std::vector<Action> actions_;
    Peer peer_;
    LagControl lag_;
    Primary primary_;
    Backup backup_;
    /// The primary whose packets are taken in when it is dead; from Protect on, and when the guest is live here.
    struct Predecessor {
        uint64_t id = 0;
        Term term;
    } predecessor_;
};

}  // namespace lockstep::replica
