// SPDX-License-Identifier: Apache-2.0
// What `status` answers, field by field; docs/operation.md says more of each.
#pragma once

#include "control/actions.h"

namespace lockstep::control {

// clang-format off
inline constexpr Field kStatusFields[] = {
    {"name", Kind::kText, "the VM's name"},
    {"role", Kind::kText, "starting, solo, primary, waiting, backup or stopped"},
    {"state", Kind::kText, "the replica's state"},
    {"protected", Kind::kFlag, "a backup may take over"},
    {"why", Kind::kText, "why the state is what it is"},
    {"no_backup_why", Kind::kText, "why no backup can be had; empty: none is sought"},
    {"term", Kind::kInteger, "grows with each fail-over"},
    {"peer", Kind::kText, "address of the other side; empty: none"},
    {"insecure", Kind::kFlag, "links to other hosts are in the clear"},
    {"lag_ms", Kind::kInteger, "execution lag of the backup"},
    {"lag_instructions", Kind::kInteger, "the same in instructions"},
    {"longest_silence_ms", Kind::kInteger, "for how long at most nothing was heard of the other side"},
    {"speed_permille", Kind::kInteger, "the share of its speed at which the guest runs"},
    {"buffered_bytes", Kind::kInteger, "log that the backup hasn't executed"},
    {"log_position", Kind::kInteger, "log entries made"},
    {"acknowledged_position", Kind::kInteger, "log entries that the backup holds"},
    {"replayed_position", Kind::kInteger, "log entries that the backup has executed"},
    {"log_bits_per_second", Kind::kNumber, "sent to the backup over the last seconds"},
    {"log_bytes", Kind::kInteger, "sent to backups in all"},
    {"icount", Kind::kInteger, "instructions of the guest"},
    {"state_hashes", Kind::kInteger, "made, or on a backup found equal"},
    {"held_outputs", Kind::kInteger, "outputs that wait for the backup now"},
    {"careful", Kind::kFlag, "the engine does without its optimisations for now"},
    {"confined", Kind::kText, "yes: the process has given up the rights that it doesn't need; else what it hasn't, and why"},
    {"console", Kind::kText, "where the console is; empty: none"},
    {"recording", Kind::kText, "the recording's file; empty: none"},
    {"snapshot", Kind::kText, "\"under way\", or why the last one failed; empty: it is whole, or there was none"},
    {"uptime_ms", Kind::kInteger, "since the process started"},
    {"live_ms", Kind::kInteger, "since the guest runs here; 0: it doesn't"},
    {"ignored_datagrams", Kind::kObject, "heartbeats that were forged, or repeated"},
    {"guest", Kind::kObject, "how busy the guest is, its last output, resets and panics"},
    {"copy", Kind::kObject, "the copy for a new backup: phase, bytes, rate, seconds left"},
    {"memory_bytes", Kind::kInteger, "the guest's memory"},
    {"disks", Kind::kList, "its disks"},
    {"networks", Kind::kList, "its networks, and what is wrong with each"},
    {"output_wait", Kind::kObject, "how long outputs have waited for the backup"},
    {"traffic", Kind::kObject, "packets and disk requests of this host"},
    {"engine", Kind::kObject, "figures of the engine"},
    {"entries", Kind::kObject, "log entries by kind"},
};
// clang-format on

}  // namespace lockstep::control
