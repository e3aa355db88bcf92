// SPDX-License-Identifier: Apache-2.0
// Runs the guest on the side that owns it (solo or primary), and makes its log.
//
// Terms
//   input   something that happened on the host and that the guest is to notice; it becomes an entry when it
//           is delivered, with the icount of that moment.
//   slice   the guest runs for some ms (slice_ns) at a time, so that time is steered, progress is reported
//           and checkpoints are made even where nothing happens.
//
// Rule of delivery: entries of one icount take effect without the machine running in between, because that is
// what a replay does. So once run() was called, nothing is delivered before an instruction has retired,
// unless the guest is halted (run() then changes nothing).
//
// Everything here is on the vCPU thread. Nothing waits: step() says how long its caller may sleep.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "bus/device.h"
#include "drive/time_policy.h"
#include "drive/vm_state.h"
#include "machine/machine.h"
#include "record/entry.h"
#include "record/payloads.h"

namespace lockstep::drive {

/// Something for the guest: an entry that still lacks its icount.
struct Input {
    record::EntryKind kind;
    uint16_t device;
    Bytes payload;
};

/// Inputs that others wait for: the guest's clients, or the guest.
inline bool is_traffic(record::EntryKind kind) {
    return kind == record::EntryKind::kNetworkReceive || kind == record::EntryKind::kDiskCompletion;
}

template <typename Payload>
Input make_input(uint16_t device, const Payload& payload) {
    return {Payload::kKind, device, record::encode(payload)};
}

/// Takes what the guest's side makes, in order, on the vCPU thread.
class LiveListener {
  public:
    virtual ~LiveListener() = default;
    /// Entry `position` of the log.
    virtual void entry_made(LogPos position, std::shared_ptr<const record::Entry> entry) = 0;
    /// An output; its kOutput entry has `position` and was reported before.
    virtual void output_made(LogPos position, bus::Output output) = 0;
    /// The guest is at `icount`; no later entry takes effect before it.
    virtual void progress(Icount icount) = 0;
};

struct LiveOptions {
    uint64_t ram_bytes = 0;
    uint64_t hash_period_ns = 0;  ///< 0: no checkpoints
    uint64_t slice_ns = 10'000'000;
};

class LiveDriver {
  public:
    /// The next entry has `position`. `behind_ns` as in TimePolicy::start(); a machine that is only switched
    /// on jumps over it.
    LiveDriver(machine::Machine& machine, const LiveOptions& options, LogPos position,
               const DriverCounts& counts, LiveListener& listener, uint64_t host_ns, uint64_t behind_ns);

    /// Queues an input for the next moment at which it may be delivered. What was typed on a console waits
    /// until the guest's port has room for it.
    void add_input(Input input);

    enum class Next : uint8_t {
        kAgain,     ///< call step() again
        kSleep,     ///< nothing to do before `wake_ns`, unless an input comes
        kPowerOff,  ///< the guest is off; its end mark is in the log
    };
    struct Step {
        Next next;
        uint64_t wake_ns = 0;  ///< of the host's clock; ~0: never
    };
    /// Delivers what waits and runs the guest for a slice, or for `longest_ns` where that is shorter. `clock`
    /// is asked for the host's time. Stop requests are looked for every `glance_ns` or so, see
    /// Machine::set_glance().
    Step step(const std::function<uint64_t()>& clock, uint64_t glance_ns = kNoGlance,
              uint64_t longest_ns = kNoLimit);
    static constexpr uint64_t kNoLimit = ~uint64_t{0};
    static constexpr uint64_t kNoGlance = ~uint64_t{0};

    /// For a guest that stands still: delivers the completions (of disks, of random bytes) that wait, and
    /// nothing else. Runs single instructions first where the rule of delivery asks for it.
    void deliver_completions();

    /// Between two steps: makes the present point one that the machine can be saved at while others follow its
    /// log. Runs an instruction first where the rule of delivery asks for it. False: the guest is off.
    bool cut();

    /// An output of the machine (from its sink).
    void output(bus::Output output);
    /// Ends the log.
    void end(record::EndReason reason, const std::string& message);
    void set_hash_period(uint64_t ns) { options_.hash_period_ns = ns; }
    /// A checkpoint now.
    void checkpoint(bool all_memory);

    LogPos position() const { return position_; }
    const DriverCounts& counts() const { return counts_; }

  private:
    void deliver_inputs();
    bool reach_delivery();
    bool takes_typed() const;
    void deliver(Input input);
    void append(std::shared_ptr<const record::Entry> entry);
    void append(record::Entry entry) { append(std::make_shared<record::Entry>(std::move(entry))); }
    machine::Stop run(Icount until);
    Step halted(uint64_t now_ns);
    void jump(uint64_t ticks);
    void steer(uint64_t now_ns);
    void checkpoint_if_due(uint64_t now_ns);

    machine::Machine& machine_;
    LiveOptions options_;
    LogPos position_;
    DriverCounts counts_;
    LiveListener& listener_;
    TimePolicy time_;
    std::deque<Input> inputs_;
    std::deque<Input> typed_;  ///< kConsoleInput
    bool may_deliver_ = true;  ///< by the rule of delivery
    bool halted_ = false;      ///< since the last run()
    bool off_ = false;
    uint64_t next_hash_ns_ = 0;
    Icount last_hash_ = kNeverIcount;
};

}  // namespace lockstep::drive
