// SPDX-License-Identifier: Apache-2.0
// The vCPU as the interpreter sees it: its state, its MMU, and the platform around it.
#pragma once

#include "cpu/breakpoints.h"
#include "cpu/cpu_state.h"
#include "cpu/instruction.h"
#include "cpu/interpreted_counts.h"
#include "cpu/mmu.h"
#include "cpu/platform.h"
#include "memory/guest_memory.h"
#include "x86/features.h"

namespace lockstep::cpu {

struct Cpu {
    Cpu(memory::GuestMemory& guest_memory, Platform& the_platform,
        x86::CpuModel cpu_model = x86::CpuModel::kV2)
        : model(cpu_model), memory(guest_memory), platform(the_platform), mmu(state, guest_memory) {}

    CpuState state;
    const x86::CpuModel model;
    memory::GuestMemory& memory;
    Platform& platform;
    Mmu mmu;
    DecodeCache decode_cache;
    Breakpoints breakpoints;          ///< derived from the state
    InterpretedCounts interpreted{};  ///< no part of the state
    uint64_t handlers_entered = 0;    ///< by exceptions, interrupts and INT, so far; no part of the state
};

/// The power-on state of a 64-bit Linux boot is made by machine/; this is the architectural reset state
/// (Intel SDM vol. 3, table 9-1).
void reset(Cpu& cpu);

/// Delivers an exception raised by the instruction at state.rip (faults push rip; traps have advanced it
/// already), with double faults; false: triple fault, the machine resets. RF and interrupt_shadow are handled
/// here.
[[nodiscard]] bool deliver_exception(Cpu& cpu, const Exception& exception);

/// Delivers an external interrupt: leaves the halted state, pushes through the IDT. False: triple fault.
[[nodiscard]] bool deliver_interrupt(Cpu& cpu, uint8_t vector);

/// Virtual memory with the privilege of the present CPL; false: `exception` is set, nothing was changed (a
/// write that crosses pages checks both before it writes). Handles RAM, MMIO (numbers of 1, 2, 4, 8 bytes)
/// and code pages.
[[nodiscard]] bool read_virtual(Cpu& cpu, uint64_t at, void* out, unsigned size, Exception& exception);
[[nodiscard]] bool write_virtual(Cpu& cpu, uint64_t at, const void* in, unsigned size, Exception& exception);

enum class StepResult : uint8_t {
    kDone,         ///< executed; rip and icount are advanced
    kFault,        ///< `exception` is to be delivered; the state is that before the instruction
    kHalt,         ///< HLT; rip and icount are advanced, state.halted is set
    kUnsupported,  ///< not one of this interpreter's instructions (the translator's own, or undefined)
    kTripleFault,
};

/// Executes the one instruction at state.rip, if it is one that the interpreter knows (system instructions,
/// string instructions, far transfers, port I/O, FXSAVE and friends: the table in interpret.cc). Flags in
/// state.rflags are complete. REP string instructions count as ONE instruction when they run to their end;
/// see interpret_string.cc.
StepResult interpret(Cpu& cpu, Exception& exception);

}  // namespace lockstep::cpu
