// SPDX-License-Identifier: Apache-2.0
// What a session asks for (session.h). In a VM's process the ports lead to the machine's thread, sockets and
// files; in the simulator to a toy machine, a network that loses things, and disks that forget.
//
// No call waits, and none calls the session back before it has returned. Where a call has an answer, it comes
// as the event of the session that is named with it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/log.h"
#include "base/pieces.h"
#include "base/result.h"
#include "base/shared_bytes.h"
#include "base/strong.h"
#include "bus/output.h"
#include "record/entry.h"
#include "replica/host_pair.h"

namespace lockstep::pair {

inline constexpr uint64_t kNsPerMs = 1'000'000;
inline constexpr uint64_t kNsPerSecond = 1'000'000'000;

class Clock {
  public:
    virtual ~Clock() = default;
    /// It goes on while the process or its host is stopped.
    virtual uint64_t now_ns() const = 0;
    uint64_t now_ms() const { return now_ns() / kNsPerMs; }
    /// on_wake() at this time of it, once. A new call takes the place of the one before.
    virtual void wake(uint64_t at_ns) = 0;
};

/// What a machine is made for.
enum class MadeFor : uint8_t {
    kPowerOn,
    kCopy,  ///< memory and state of another are to come
};

/// What there is of the pages of a clone.
enum class Taken : uint8_t {
    kMore,       ///< there are more; where none came, the guest is about to give one
    kNextRound,  ///< the round is over, and another would be so much shorter that it pays
    kCut,        ///< the round is over, and another wouldn't
    kComplete,   ///< all of the memory as it was at the cut is given
    kVoid,       ///< no copy can come of it: the guest was reset, or would have waited too long
};

/// The machine, on a thread of its own: what is asked of it is done in order, and so come its events.
class Guest {
  public:
    virtual ~Guest() = default;
    /// Makes the machine: on_made().
    virtual void make(SharedBytes configuration, MadeFor purpose) = 0;
    /// From now on a replay, whose next entry has `position`. May come before on_made().
    virtual void start_replay(LogPos position) = 0;
    /// Replays these, and runs on to `complete`: on_replayed(), on_replayed_output(), on_divergence().
    virtual void replay(std::vector<record::Entry> entries, Icount complete) = 0;
    /// The guest is ours, and its next entry has `position`: on_unanswered(), before anything else of it.
    /// `behind_ns`: time that it is to catch up with.
    virtual void go_live(LogPos position, uint64_t behind_ns) = 0;
    /// Stops between two instructions: on_paused() with this number.
    virtual void pause(uint64_t number) = 0;
    /// Of a paused guest: what it was given before this call is in the machine, on_settled() with this number.
    virtual void settle(uint64_t number) = 0;
    virtual void resume() = 0;
    /// The share of its speed at which a live guest runs.
    virtual void set_speed(uint32_t permille) = 0;

    // A copy of a live guest while it runs, one at a time (cloning.h).
    /// on_round() with this number, when pages of the first round may be taken.
    virtual void start_clone(uint64_t number) = 0;
    /// Appends records of pages to `out` until some `bytes` are in it, or there are none. Once on_round() or
    /// on_cut() has come, until it says anything but kMore.
    virtual Taken take_pages(Bytes& out, size_t bytes) = 0;
    /// on_round() with this number.
    virtual void next_round(uint64_t number) = 0;
    /// From this moment of the guest on the copy doesn't change: on_cut() with this number, and with the state
    /// of registers and devices.
    virtual void cut(uint64_t number) = 0;
    /// Nothing of the copy is wanted any more.
    virtual void end_clone() = 0;

    // A machine that was made for a copy.
    /// Puts records of pages where they belong; what can't be read fails. Once on_made() has come.
    virtual Result<void> load_pages(ByteSpan records) = 0;
    /// After the last of them, what on_cut() gave: on_loaded().
    virtual void load_state(Bytes state) = 0;

    /// The engine does without its optimisations until the guest has been live for a while: on_care_over().
    virtual void be_careful() = 0;
    /// Whether a backup waits for the entries of a live guest.
    virtual void want_log(bool wanted) = 0;
};

/// The link to the other side: a channel for the log, datagrams for heartbeats. There is one at a time; what
/// is sent without one is lost.
class Link {
  public:
    virtual ~Link() = default;
    virtual bool is_open() const = 0;
    virtual void send(const Pieces& message) = 0;
    virtual void send_datagram(ByteSpan datagram) = 0;
    /// Bytes that wait in the channel: on_link_drained() when there are none.
    virtual size_t queued_bytes() const = 0;
    /// Ends the link, once its last bytes are with the system; no event of it follows.
    virtual void close() = 0;
    /// The same, but that datagrams go on to come until there is another link: a dead primary's last.
    virtual void close_channel() = 0;
    /// A datagram for the moment at which a signal of its own ends this process; none: nobody is to be told.
    virtual void keep_last_words(const std::optional<Bytes>& words) = 0;
};

/// The host's side of the VM's devices: disks, networks, console, random bytes.
class Outside {
  public:
    virtual ~Outside() = default;
    /// Does what the output says, now. Right before a disk's write is handed to the host's kernel, whatever
    /// it has waited for until then, Session::may_write(entry) is asked; while it says no, the write stays,
    /// and those behind it. Completions are inputs of the guest.
    virtual void submit(const bus::Output& output, LogPos entry) = 0;
    /// Session::may_write() may say yes again.
    virtual void issue_kept() = 0;
    /// A backup's output: what only this host can see is shown, and what it tells of the guest is remembered.
    virtual void show(const bus::Output& output) = 0;
    /// Disk requests submitted that have not ended.
    virtual size_t in_flight() const = 0;
    /// Completions given to the guest so far.
    virtual uint64_t completions() const = 0;
    /// on_drained() when nothing is in flight.
    virtual void drain() = 0;
    /// The backup has the log before this entry.
    virtual void acknowledged(LogPos before) = 0;
    /// From now on inputs are let in.
    virtual void let_inputs_in() = 0;
    /// The same, for a guest that came from elsewhere: its addresses are announced.
    virtual void go_live() = 0;
    /// Packets for the live guest that came by another way, an encoded NetworkReceive: an input like others.
    virtual void let_in(uint16_t device, Bytes packets) = 0;
    /// The fence: nothing more is let in or out.
    virtual void stop() = 0;
};

/// Where the VM's terms are claimed (docs/adr/0001-who-may-act.md).
class Arbiter {
  public:
    virtual ~Arbiter() = default;
    /// on_looked() with the newest term and the lease of `term` (0: of the newest).
    virtual void look(Term term) = 0;
    /// on_claimed().
    virtual void claim(Term term) = 0;
    /// on_renewed(). `hosts` as of replica::RenewTerm.
    virtual void renew(Term term, const std::optional<replica::HostPair>& hosts) = 0;
    /// Whoever starts the VM next need not watch this term's lease: its owner is done.
    virtual void set_free(Term term) = 0;
};

/// How a session ended.
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

/// Who runs the session.
class Host {
  public:
    virtual ~Host() = default;
    /// Finds a host that serves as the backup: on_link_open(). Asked again and again until then.
    virtual void ask_for_backup() = 0;
    /// The guest runs here now, for the first time or after its primary.
    virtual void went_live() = 0;
    /// No output waits any more: the guest's answer, if it was one, is on its way.
    virtual void outputs_left() = 0;
    /// The session is over. Once.
    virtual void ended(const Ending& ending) = 0;
    virtual void say(LogLevel level, const std::string& sentence) = 0;
};

struct Ports {
    Clock& clock;
    Guest& guest;
    Link& link;
    Outside& outside;
    Arbiter& arbiter;
    Host& host;
};

}  // namespace lockstep::pair
