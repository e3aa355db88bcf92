// SPDX-License-Identifier: Apache-2.0
// The running vCPU: executes guest code through the translator, and rare instructions through cpu/interpret.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/strong.h"
#include "cpu/cpu.h"
#include "translate/engine_options.h"
#include "translate/engine_report.h"
#include "translate/stop_urgency.h"

namespace lockstep::translate {

enum class VcpuExit : uint8_t {
    kReached,      ///< the limit: `until`, or the platform's next event
    kRequested,    ///< request_stop()
    kHalted,       ///< HLT with no interrupt to take
    kTripleFault,  ///< the machine must be reset
    kPlatform,     ///< the platform asked to leave (a power-off or reset was written to a device)
    kStop,         ///< a debugger's stop was met (cpu/breakpoints.h)
};

class Vcpu {
  public:
    Vcpu(cpu::Cpu& cpu, const EngineOptions& options);
    ~Vcpu();

    /// Runs until `until` or Platform::next_event(), whichever comes first; pending interrupts are taken. The
    /// state in `cpu` is complete on return.
    VcpuExit run(Icount until);
    /// Makes run() return kRequested soon (at a block end). For other threads and signal handlers; sticks
    /// until taken.
    void request_stop(StopUrgency urgency = StopUrgency::kAtOnce);
    /// From the next run() on a stop request is looked for after this many instructions at the latest,
    /// without a signal.
    void set_glance(uint64_t instructions);
    /// The exact icount now; valid inside Platform calls too.
    Icount icount() const;

    /// From now on; throws all translated code away. Not visible in the guest.
    void set_optimisations(Optimisations wanted);

    /// After the state in `cpu` was replaced (reset, restore): clears everything derived from it.
    void state_replaced();

    /// On the thread of run(), and not during it, as all but request_stop().
    EngineReport report() const;
    /// Why translated code was left since the vCPU was made.
    std::vector<Departure> departures() const;
    /// For an idle moment: takes a piece of the memory that blocks will need from the host, which lasts some
    /// milliseconds at most. False: there is enough for a while.
    bool take_memory_ahead();
    /// Throws all translated code away and gives its memory back to the host. Between two runs.
    void give_memory_back();
    /// In the child of a fork, whose guest memory is private: leaves the parent what they have in common. Between
    /// two runs.
    void after_fork();
    /// From now on `visitor` is shown all host code, each piece once: trampolines now, blocks before they are
    /// thrown away (state_replaced() does this, too), the last ones by the destructor.
    void set_code_visitor(CodeVisitor visitor);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::translate
