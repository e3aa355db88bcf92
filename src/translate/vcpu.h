// The running vCPU: executes guest code through the translator, and rare instructions through cpu/interpret.
#pragma once

#include <cstdint>
#include <memory>

#include "base/strong.h"
#include "cpu/cpu.h"
#include "translate/engine_options.h"

namespace lockstep::translate {

enum class VcpuExit : uint8_t {
    kReached,      ///< the limit: `until`, or the platform's next event
    kRequested,    ///< request_stop()
    kHalted,       ///< HLT with no interrupt to take
    kTripleFault,  ///< the machine must be reset
    kPlatform,     ///< the platform asked to leave (a power-off or reset was written to a device)
};

/// Counts for the profile and the tests; no influence on the guest.
struct VcpuCounters {
    uint64_t blocks_translated = 0;
    uint64_t blocks_copied = 0;
    uint64_t instructions_translated = 0;
    uint64_t dispatches = 0;
    uint64_t memory_misses = 0;
    uint64_t slow_accesses = 0;
    uint64_t interpreted = 0;
    uint64_t exceptions = 0;
    uint64_t interrupts = 0;
    uint64_t code_invalidations = 0;
    uint64_t cache_flushes = 0;
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
    void request_stop();
    /// The exact icount now; valid inside Platform calls too.
    Icount icount() const;

    /// After the state in `cpu` was replaced (reset, restore): forgets everything derived from it.
    void state_replaced();
    const VcpuCounters& counters() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::translate
