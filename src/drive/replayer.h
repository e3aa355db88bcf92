// SPDX-License-Identifier: Apache-2.0
// Replays a log on a machine: every entry takes effect exactly at its icount.
//
//     apply(entry):  run to entry.icount  ->  input: deliver it
//                                             state hash: compare
//                                             output: compare the number of outputs made
//                                             end: the machine must be where the log says
//
// Between two entries of one icount the machine doesn't run. The recording side keeps the same rule
// (live_driver.h): once the machine has run, nothing is delivered before it has retired an instruction.
//
// Used by a backup and by the replay of a file alike; on the vCPU thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "drive/vm_state.h"
#include "machine/machine.h"
#include "record/entry.h"
#include "record/payloads.h"

namespace lockstep::drive {

/// Where a replay first differed from its log.
struct Divergence {
    LogPos position;  ///< of the entry that showed it
    Icount icount;
    uint8_t parts = 0;     ///< record::StateParts
    std::string sentence;  ///< position, icount and what differed
};

enum class ReplayResult : uint8_t {
    kDone,      ///< the entry took effect, or the icount was reached
    kAborted,   ///< as asked for
    kStopped,   ///< at a debugger's stop: the same call again goes on
    kPowerOff,  ///< the machine is off, as the log says
    kEnded,     ///< the log's end mark
    kDiverged,  ///< see divergence()
};

class Replayer {
  public:
    /// The next entry has `position`; `counts` belong to the state that the machine is in. Once `aborted` is
    /// true (and the machine was asked to stop) every call returns kAborted.
    Replayer(machine::Machine& machine, uint64_t ram_bytes, LogPos position, const DriverCounts& counts,
             const std::atomic<bool>& aborted);

    ReplayResult apply(const record::Entry& entry);
    /// Runs on to `icount`; the log says that the guest got there without any further entry.
    ReplayResult run_to(Icount icount);
    /// What has come of the log is applied, and says that the guest got to `complete`: runs there, and through
    /// the instruction in whose midst the last outputs were made, if the log's end has left the machine before
    /// it. Whoever goes on from here has made each output of its log; the primary may have let them out.
    ReplayResult catch_up(Icount complete);
    /// The machine made an output (from the sink).
    void count_output();

    LogPos position() const { return position_; }
    const DriverCounts& counts() const { return counts_; }
    const std::optional<Divergence>& divergence() const { return divergence_; }
    uint64_t checkpoints() const { return checkpoints_; }

  private:
    ReplayResult take_effect(const record::Entry& entry);
    ReplayResult compare_hash(const record::Entry& entry);
    ReplayResult compare_output(const record::Entry& entry);
    /// Whether the log has told of outputs that the machine's next instruction is to make.
    bool outputs_due() const { return counts_.outputs < due_outputs_ && machine_.icount() == due_after_; }
    ReplayResult check_outputs_made();
    ReplayResult end(const record::Entry& entry);
    ReplayResult diverged(uint8_t parts, const std::string& what);

    machine::Machine& machine_;
    uint64_t ram_bytes_;
    LogPos position_;
    DriverCounts counts_;
    std::optional<Divergence> divergence_;
    uint64_t checkpoints_ = 0;
    uint64_t due_outputs_ = 0;  ///< to have been made once the machine is past due_after_
    Icount due_after_;
    bool caught_up_ =
        false;  ///< catch_up() has run the instruction at due_after_: more of its outputs may come
    bool off_ = false;
    const std::atomic<bool>& aborted_;
};

}  // namespace lockstep::drive
