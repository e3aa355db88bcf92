// SPDX-License-Identifier: Apache-2.0
// Entering a handler through the IDT.
#pragma once

#include "cpu/cpu.h"

namespace lockstep::cpu {

enum class EventSource : uint8_t {
    kException,  ///< raised by the CPU
    kExternal,   ///< an interrupt from outside
    kSoftware,   ///< INT n, INT3: the gate's DPL is checked
};

struct Event {
    uint8_t vector = 0;
    EventSource source = EventSource::kException;
    bool has_error_code = false;
    uint32_t error_code = 0;
    uint64_t return_rip = 0;
    uint64_t saved_flags = 0;
};

/// Bits of an error code that names a selector or a gate (Intel SDM vol. 3, 6.13).
inline constexpr uint32_t kErrorExternal = 1, kErrorIdt = 2;

/// Pushes the frame and goes to the handler. False: `exception` was raised on the way, nothing was changed.
[[nodiscard]] bool enter_handler(Cpu& cpu, const Event& event, Exception& exception);

/// Its part outside long mode: through the vectors of real mode, or through the gates of protected mode.
[[nodiscard]] bool enter_narrow_handler(Cpu& cpu, const Event& event, Exception& exception);

/// The debug exception of breakpoints and of TF; its causes are the bits for DR6.
Exception debug_exception(CpuState& state, uint64_t causes);

}  // namespace lockstep::cpu
