// SPDX-License-Identifier: Apache-2.0
// The x87 and SSE state as rules: which bits exist, and what the guest may see of it.
//
// FOP, FIP and FDP are always zero: the host's hold addresses of translated code. MXCSR_MASK is a constant:
// hosts differ in it. The summary bits of the status word follow from its exception bits and the control
// word's masks.
#pragma once

#include <cstdint>

#include "cpu/cpu_state.h"

namespace lockstep::cpu {

// Offsets in FxState
inline constexpr unsigned kFxControl = 0, kFxStatus = 2, kFxTag = 4, kFxOpcode = 6, kFxInstruction = 8,
                          kFxData = 16, kFxMxcsr = 24, kFxMxcsrMask = 28, kFxStack = 32, kFxXmm = 160,
                          kFxEnd = 416;

inline constexpr uint16_t kFcwInitial = 0x37f, kFcwWritable = 0x1f3f, kFcwFixed = 0x40, kFcwMasks = 0x3f;
inline constexpr uint16_t kFswExceptions = 0x3f, kFswSummary = 0x80, kFswBusy = 0x8000;
inline constexpr uint32_t kMxcsrInitial = 0x1f80, kMxcsrMask = 0xffff;

/// Whether all upper halves are zero.
bool is_clear(const UpperHalves& halves);

/// FNINIT and the initial MXCSR, with all registers zero.
void reset_fx(FxState& fx);

/// Brings an image that the host's FXSAVE made into the one form that state hashes and the guest may see.
/// Call it whenever the host's registers have been saved into CpuState::fx.
void normalise_fx(FxState& fx);

/// The status word with its summary bits as its exceptions and the masks of `control` make them.
uint16_t with_summary(uint16_t status, uint16_t control);

/// The same for an image that software wrote, as FXRSTOR and XRSTOR load it: its control and status words may
/// hold bits that the registers don't have.
void normalise_software_fx(FxState& fx);

}  // namespace lockstep::cpu
