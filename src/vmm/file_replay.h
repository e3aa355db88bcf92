// SPDX-License-Identifier: Apache-2.0
// Replaying a recorded file: the machine is made as the log says, every entry takes effect at its icount,
// nothing leaves, and every state hash is compared.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "drive/replayer.h"
#include "host/files.h"
#include "record/log_stream.h"
#include "vmm/machine_factory.h"

namespace lockstep::vmm {

struct ReplayOptions {
    translate::EngineOptions engine;
    /// Icounts at which the replay stops and goes on, in growing order. It must make no difference.
    std::vector<Icount> stops;
    /// Another thread asks the machine to stop at random moments. It must make no difference.
    bool disturbed = false;
    /// Replay the log of another build as well, with a warning; never that of another processor.
    bool any_build = false;
    /// Stop the replay for good at this icount.
    Icount until = kNeverIcount;
    /// Console output of the guest, as it comes; optional.
    std::function<void(ByteSpan)> console;
    /// Called at each stop, and once at the end; optional.
    std::function<void(machine::Machine&)> stopped;
};

struct ReplayReport {
    LogPos entries;            ///< position reached
    Icount icount;             ///< icount reached
    uint64_t checkpoints = 0;  ///< hashes that were equal
    machine::StateHash hash;   ///< of the machine at the end, memory included
    translate::EngineReport engine;
    std::vector<translate::Departure> departures;
    std::optional<drive::Divergence> divergence;
    bool complete = false;  ///< the log was replayed to its end mark
    std::string problem;    ///< the log is damaged or cut behind what was replayed; empty: it isn't
};

/// Fails where the log can't be read, is damaged or cut before it tells the machine, or is of another
/// processor or (but for `any_build`) another build. A divergence is no failure of the call: see the report.
/// `aborted` ends the replay early.
Result<ReplayReport> replay_file(const std::string& path, MachineFactory& factory,
                                 const ReplayOptions& options, const std::atomic<bool>& aborted);

}  // namespace lockstep::vmm
