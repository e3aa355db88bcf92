// SPDX-License-Identifier: Apache-2.0
// Alignment checks: CR0.AM with EFLAGS.AC at CPL 3 (Intel SDM vol. 3, 6.15, interrupt 17). Nothing is asked
// of them but in the slow ways to memory: while they are on the translator sends each instruction there.
#pragma once

#include <algorithm>
#include <bit>

#include "cpu/cpu_state.h"
#include "x86/control.h"

namespace lockstep::cpu {

/// Whether a misaligned access by the running program raises #AC.
inline bool checks_alignment(const CpuState& state) {
    return (state.rflags & kFlagAc) && (state.cr0 & x86::kCr0Am) && state.cpl() == 3;
}

/// Bytes that the address of an access of `size` bytes must be a multiple of. What is made of several fields
/// is aligned as the widest of them (an FSTENV image by 2 or 4, a frame of quadwords by 8).
constexpr unsigned alignment_of(unsigned size) { return std::min(1u << std::countr_zero(size), 8u); }

/// #AC.
inline constexpr Exception kAlignmentCheck{.vector = kAc, .has_error_code = true};

}  // namespace lockstep::cpu
