// SPDX-License-Identifier: Apache-2.0
// 16- and 32-bit code, an instruction at a time: whatever its segments are. What goes by the stack or changes the flow of
// control is the interpreter's; the rest is executed as it is, with its memory in the bounce buffer (slow_step).
#include <algorithm>
#include <utility>

#include "cpu/float_state.h"
#include "cpu/virtual_memory.h"
#include "translate/vcpu_impl.h"

namespace lockstep::translate {

std::optional<cpu::Exception> Vcpu::Impl::refused_by_segment(const GuestInstruction& instruction,
                                                             const MemoryAccess& access) const {
    if (!instruction.is_narrow()) return std::nullopt;
    auto kind = access.write ? cpu::Access::kWrite : cpu::Access::kRead;
    if (cpu::permits(cpu.state.segments[access.segment], access.offset, access.size, kind))
        return std::nullopt;
    uint8_t vector = access.segment == cpu::kSs ? cpu::kSs_ : cpu::kGp;
    return cpu::Exception{.vector = vector, .has_error_code = true};
}

// VZEROUPPER and VZEROALL, which outside 64-bit code know the first eight registers alone. Their images are in the state
// while no translated code runs.
Vcpu::Impl::Next Vcpu::Impl::clear_narrow_registers(const GuestInstruction& instruction) {
    constexpr size_t kBytes = 8 * 16;
    cpu::CpuState& state = cpu.state;
    std::fill_n(state.upper_halves.bytes.begin(), kBytes, uint8_t{0});
    state.upper_halves_used = 1;
    if (instruction.decoded.mnemonic == ZYDIS_MNEMONIC_VZEROALL)
        std::fill_n(&state.fx.bytes[cpu::kFxXmm], kBytes, uint8_t{0});
    state.rip = instruction.next_pc();
    ++state.icount;
    return Next::kContinue;
}

Vcpu::Impl::Next Vcpu::Impl::segmented_step() {
    cpu::CpuState& state = cpu.state;
    arrival = {};
    limit = state.icount + 1;
    bool held_off = (state.rflags & cpu::kFlagRf) || state.interrupt_shadow == cpu::kShadowOfMovSs;
    if (cpu.breakpoints.has_code_on_page(state.code_address()) && !held_off)
        if (uint64_t met = cpu.breakpoints.met_by_fetch(state.code_address())) return deliver_debug(met);
    cpu::Exception exception;
    BlockSource source;
    uint64_t code_limit = state.segments[cpu::kCs].limit;
    if (state.rip > code_limit) return deliver({.vector = cpu::kGp, .has_error_code = true});
    if (!fetch(source, exception)) return deliver(exception);
    const GuestInstruction& instruction = slow_instruction(source);
    if (state.rip + instruction.length - 1 > code_limit)
        return deliver({.vector = cpu::kGp, .has_error_code = true});
    state.rflags &= ~cpu::kFlagRf;
    return execute_segmented(instruction);
}

Vcpu::Impl::Next Vcpu::Impl::execute_segmented(const GuestInstruction& instruction) {
    switch (instruction.kind) {
        case Kind::kUndefined:
            return without_block(ExitKind::kUndefined);
        case Kind::kTooLong:
            return without_block(ExitKind::kTooLong);
        case Kind::kInterpretFpu:
            return interpret(true);
        case Kind::kCopy:
        case Kind::kNothing:
        case Kind::kLea:
        case Kind::kPrefetch:
        case Kind::kMoveOffset:
        case Kind::kBitString:
            break;
        default:
            return interpret(false);
    }
    if (!instruction.is_available(vectors))
        return without_block(instruction.uses_avx() ? ExitKind::kAvxUnavailable : ExitKind::kFpuUnavailable);
    Icount before = cpu.state.icount;
    uint8_t shadow = std::exchange(cpu.state.interrupt_shadow, 0);
    if (instruction.clears_upper_halves()) return clear_narrow_registers(instruction);
    Next next = slow_step(SlowCause::kNarrow);
    if (cpu.state.icount == before) cpu.state.interrupt_shadow = shadow;
    return next;
}

}  // namespace lockstep::translate
