// SPDX-License-Identifier: Apache-2.0
// Why translated code was left, counted: what would be worth making faster. Nothing of it is visible in the guest, and
// the host's timing has a part in it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cpu/interpreted_counts.h"
#include "translate/code_cache.h"
#include "translate/engine_report.h"

namespace lockstep::translate {

/// Why an instruction was executed with its memory in the bounce buffer.
enum class SlowCause : uint8_t {
    kAcrossPages,
    kMisaligned,    ///< where the instruction's own fault is for that
    kOtherHalf,     ///< user code, the kernel's half of the addresses
    kDevice,        ///< not RAM
    kBreakpoint,    ///< a page with a data breakpoint
    kMarkedPage,    ///< a write to a page with code
    kNotForWindow,  ///< a fault in the window that no mapping mends
    kHostFault,     ///< another fault of the host's CPU that the guest may not see
    kAlone,         ///< each instruction goes by itself: alignment checks, levels 1 and 2
    kNarrow,        ///< 16- and 32-bit code
};

class DepartureCounts {
  public:
    void count(ExitKind kind) { ++exits_[static_cast<size_t>(kind)]; }
    void count(SlowCause cause) { ++slow_[static_cast<size_t>(cause)]; }
    /// With what the interpreter has counted: what has happened at all, in groups, the most frequent of each first.
    std::vector<Departure> list(const cpu::InterpretedCounts& interpreted) const;

  private:
    std::array<uint64_t, static_cast<size_t>(ExitKind::kHostFault) + 1> exits_{};
    std::array<uint64_t, static_cast<size_t>(SlowCause::kNarrow) + 1> slow_{};
};

}  // namespace lockstep::translate
