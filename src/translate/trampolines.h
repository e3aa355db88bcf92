// SPDX-License-Identifier: Apache-2.0
// The ways into and out of translated code: a few dozen host instructions that are written at start-up.
//
//     enter         saves the host's callee-saved registers, loads the guest's, jumps to EngineState::target
//                   Upper halves of YMM registers are loaded where one may be in use, else they are cleared:
//                   C++ leaves what it likes there
//     exit          r12 = exit record, r14 = address: stores the guest's registers, returns to the caller of
//                   enter
//     indirect_miss where nothing is known of an indirect branch's target: exit with the record of kind
//                   kIndirect
//     jump miss     the jump cache was wrong: looks into the jump index (jump_index.h), goes on in the block
//                   that is there, or to indirect_miss. User code, code in the window and kernel code have
//                   one each
//     into_kernel, into_user, into_window
//                   where a system call, or the way back, goes on: an indirect branch by the jump cache of the
//                   other privilege level
//     fault         where the signal handler sends a faulting instruction: exit with the record of kind
//                   kHostFault
//     unpark        loads the guest's RSP, where the host's kernel can't return to it (host_faults.h), and
//                   goes on at EngineState::parked.pc
#pragma once

#include "cpu/cpu_state.h"
#include "translate/block_builder.h"
#include "translate/code_cache.h"

namespace lockstep::translate {

/// Records that every code cache starts with.
inline constexpr uint32_t kIndirectRecord = 0;
inline constexpr uint32_t kHostFaultRecord = 1;
inline constexpr uint32_t kDirectRecord = 2;

struct Trampolines {
    void (*enter)(cpu::CpuState* state) = nullptr;
    const uint8_t* loaded = nullptr;  ///< from here to `entered` r11 holds the counter
    const uint8_t* entered = nullptr;
    const uint8_t* jump_misses = nullptr;  ///< from here to `jump_misses_end` r11 holds the counter, too
    const uint8_t* jump_misses_end = nullptr;
    const uint8_t* fault = nullptr;
    const uint8_t* unpark = nullptr;
    const uint8_t* unparked = nullptr;  ///< here RSP is the guest's again
    Exits exits;

    /// `avx`: the guest may have what needs it, and so the host has it.
    enum class Avx : uint8_t { kHidden, kOffered };
    static Trampolines write(CodeCache& cache, Avx avx);
};

}  // namespace lockstep::translate
