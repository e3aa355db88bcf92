// SPDX-License-Identifier: Apache-2.0
// What a replica wants done. The vmm carries actions out in order; the simulator does the same.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "base/bytes.h"
#include "base/log.h"
#include "base/pieces.h"
#include "base/strong.h"
#include "replica/host_pair.h"

namespace lockstep::replica {

/// Write these bytes (one whole message) to the channel.
struct SendChannel {
    Pieces bytes;
};
/// Send these bytes (one whole message) as a datagram to the peer; it may be lost.
struct SendDatagram {
    Bytes bytes;
};
/// Close the channel, after what was sent before has been handed to the system. No on_channel_closed()
/// follows.
struct CloseChannel {};
/// Ask the arbiter, without blocking, for this term on behalf of Config::self; answer with on_arbiter().
struct Claim {
    Term term;
};
/// Owner: renew the lease of this term at the arbiter, then look whether somebody has claimed a newer one;
/// without blocking. The lease says on which hosts the VM may go on without the arbiter; nothing: this side doesn't
/// know, so what an earlier lease says holds. Answer with on_renewed().
struct RenewTerm {
    Term term;
    std::optional<HostPair> hosts;
};
/// Outputs whose kOutput entry lies before `up_to` may leave now, in order. Ask may_release() again, with a
/// fresh clock, right before each: this process may have been stopped since. On false keep the output and all
/// behind it: the action comes again. Answer with on_left().
struct ReleaseOutputs {
    LogPos up_to;
};

enum class StopReason : uint8_t {
    kBufferFull,  ///< the backup is too far behind
    kHandOver,    ///< the other side is to take over
};
/// Owner: stop the guest between two instructions. For kHandOver let disk requests that were issued end before
/// (append their completions), then call on_vm_stopped(), unless StartVm has come since.
struct StopVm {
    StopReason reason;
};
/// Owner: let the guest run (again).
struct StartVm {};
/// Owner: let the guest run at this share of its speed.
struct SetSpeed {
    uint32_t permille;
};
/// Owner: call on_clone_start(), then on_clone_piece() with the machine's configuration until all is given.
struct StartClone {};
/// Owner, all of the configuration being given: the backup's machine takes pages. Call on_clone_piece() with
/// those of the running guest's memory; at the cut on_clone_cut(), then on_clone_piece() with the state and
/// the rest of the pages, and at last with the end.
struct SendPages {};
/// Backup: make a machine from `config` whose memory and state are to come, then call on_made().
struct MakeMachine {
    Bytes config;
};
/// Backup: put these pages (memory/page_records.h) where they belong; call on_loaded() only where they can't be.
struct LoadPages {
    Bytes records;
};
/// Backup: all pages are there. Load the state of registers and devices, then call on_loaded(). The log goes on
/// from `position`.
struct LoadState {
    LogPos position;
    Icount icount;
    Bytes state;
};
/// Backup: replay these entries (as record/ encodes them), run on to `complete` or to the last entry's
/// icount, whichever is later, and stop there: no further entry can take effect before. Report with
/// on_replayed(). `ends`: the last of them is the log's kEnd.
struct ReplayLog {
    LogPos first;
    uint64_t count;
    Icount complete;
    bool ends;
    Bytes entries;
};
/// Backup: the guest is ours. The log is consumed; issue the in-flight disk requests again, announce the MAC
/// addresses, let inputs in and outputs out, append new entries from `position` on. Packets whose kOutput
/// entry lies before `left_before` have left the other side for certain; send the last of the others (again).
struct GoLive {
    Term term;
    LogPos position;
    LogPos left_before;
};
/// Backup: a fault of its own has ended the primary's process, and what is left of the log, or the guest's next
/// instructions, may bring it about here, too. Until the guest has been live for a while the engine is to do
/// without all that isn't needed.
struct BeCareful {};
/// Packets for the guest (an encoded NetworkReceive) that came to its primary's host when its process died: give
/// them to the guest, or keep them for the moment at which it is live here.
struct LetIn {
    uint16_t device;
    Bytes packets;
};
/// Owner: find a host and start a backup there; on_channel_open() when it is connected. Comes again until
/// then.
struct AskForBackup {};

enum class HaltReason : uint8_t {
    kPoweredOff,  ///< the guest switched itself off, or was switched off
    kHandedOver,  ///< the other side goes on, as it was told to
    kLost,        ///< the other side owns the guest: let nothing out any more
    kDismissed,   ///< a backup that isn't wanted any longer, or whose primary went before it was complete
    kRefused,     ///< a backup that can't serve
    kDiverged,    ///< a backup whose state differed
};
/// It is over: stop the guest at once, throw held outputs away, close the channel, end the process; after
/// kPoweredOff when the disk requests that were submitted have ended.
struct Halt {
    HaltReason reason;
    std::string sentence;
};
/// A line for the process log.
struct Say {
    LogLevel level;
    std::string sentence;
};

using Action = std::variant<SendChannel, SendDatagram, CloseChannel, Claim, RenewTerm, ReleaseOutputs, StopVm,
                            StartVm, SetSpeed, StartClone, SendPages, MakeMachine, LoadPages, LoadState,
                            ReplayLog, BeCareful, GoLive, LetIn, AskForBackup, Halt, Say>;

}  // namespace lockstep::replica
