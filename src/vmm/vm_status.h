// SPDX-License-Identifier: Apache-2.0
// What a person, or a program, may want to know of a VM process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/sealed_datagrams.h"
#include "pair/output_gate.h"
#include "replica/replica.h"
#include "translate/engine_report.h"
#include "vmm/backends.h"
#include "vmm/link_security.h"
#include "vmm/log_meter.h"
#include "vmm/settings.h"

namespace lockstep::vmm {

/// While a snapshot is being written.
inline constexpr std::string_view kSnapshotUnderWay = "under way";

struct VmStatus {
    std::string name;
    bool started = false;                ///< the machine exists and the replica decides
    replica::Status replica;             ///< state, term, lag, ...
    std::string peer;                    ///< address of the other side; empty: none
    Security security = Security::kTls;  ///< of the links to other hosts
    std::string confined;                ///< "yes", or what the process hasn't given up, and why
    host::DatagramOpener::Ignored
        ignored_datagrams;      ///< heartbeats that weren't the other side's, or came again
    std::string no_backup_why;  ///< why the search for a backup brings none; empty: none is sought
    /// What an operator wants to know first.
    struct Guest {
        uint64_t busy_permille = 0;              ///< of a processor, that the guest takes here
        std::optional<uint64_t> last_output_ms;  ///< ago: a packet, disk request or text; none: not yet here
        uint64_t resets = 0, panics = 0;         ///< seen by this process
        std::string last_panic;                  ///< its line on the console
        std::optional<uint64_t> last_panic_ms;   ///< ago
    };
    Guest guest;
    /// The copy for a new backup: an owner's while it is made, or the last one; a backup's while it comes.
    struct Copy {
        std::string phase;  ///< empty: none is being made
        unsigned round = 0;
        uint64_t bytes_done = 0, bytes_of = 0;  ///< of memory; the guest writes on, so there may be more
        double bytes_per_second = 0;
        std::optional<double> seconds_left;
        /// How long the guest stood: at the cut, at most at a time, in all because the link was too slow
        uint64_t cut_ns = 0, longest_pause_ns = 0, waited_ns = 0;
    };
    Copy copy;
    const VmSettings* settings = nullptr;  ///< of the process: memory, disks, networks
    std::vector<std::string> link_faults;  ///< of each network; empty: nothing is known against it
    uint64_t icount = 0;
    double log_bits_per_second = 0;  ///< sent to the backup over the last seconds, with heartbeats
    uint64_t log_bytes = 0;          ///< sent to backups in all
    struct Kind {
        std::string name;
        uint64_t entries;
        uint64_t bytes;
    };
    std::vector<Kind> entries;  ///< of the log by kind, those that occurred
    uint64_t held_outputs = 0;  ///< waiting for the backup now
    pair::OutputGate::Waits waits;
    uint64_t link_round_trip_ns = 0;  ///< of the logging link, by the kernel; 0: not known
    uint64_t checkpoints = 0;         ///< state hashes made (owner) or found equal (backup)
    Backends::Traffic traffic;
    translate::EngineReport engine;
    bool careful = false;   ///< for a while the engine does without its optimisations
    std::string console;    ///< where to attach
    std::string recording;  ///< path; empty: none
    /// Of the last one: kSnapshotUnderWay, or why it failed; empty: it is whole, or there was none.
    std::string snapshot;
    uint64_t uptime_ms = 0;  ///< of this process
    uint64_t live_ms = 0;    ///< since the guest runs here; 0: it doesn't
};

}  // namespace lockstep::vmm
