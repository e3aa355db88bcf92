// SPDX-License-Identifier: Apache-2.0
// SYSCALL of user code and SYSRET to it (Intel SDM vol. 2), without a way out of translated code.
//
// What they need of the MSRs lies ready in EngineState::transfers; whatever is unusual (EFER.SCE is clear, the
// target isn't canonical, a trap or an interrupt would follow, pages of the maps or the window have to go first) is
// the interpreter's. The rest is a change of CS, SS and RFLAGS, of the map that r10 names, and an indirect branch by the
// jump cache of the other privilege level. The guest's flags are in their slot throughout.
#include "translate/block_builder.h"
#include "x86/paging.h"

namespace lockstep::translate {

bool BlockBuilder::is_transfer(const GuestInstruction& instruction) {
    return instruction.decoded.mnemonic == ZYDIS_MNEMONIC_SYSCALL ||
           instruction.decoded.mnemonic == ZYDIS_MNEMONIC_SYSRET;
}

void BlockBuilder::emit_flat_segment(cpu::Segment segment, const uint64_t& value) {
    size_t start = offsetof(cpu::CpuState, segments) + segment * sizeof(cpu::SegmentRegister);
    load_state(kHostR12, value);
    asm_.store(state_field(start), kHostR12);
    asm_.store_imm(segment_base(segment), 0);
}

void BlockBuilder::emit_syscall(const GuestInstruction& instruction) {
    EngineState& state = cache_.state();
    EngineState::Transfers& transfers = state.transfers;
    put_flags_in_slot();
    const uint8_t* slow = emit_slow_way(ExitKind::kInterpret);
    load_state(kHostR14, transfers.into_kernel);
    asm_.test(kHostR14, kHostR14);
    asm_.jcc_to(kEqual, slow);
    emit_guest_address(kHostRcx, instruction.next_pc());
    emit_flags_image();
    asm_.store(slot(cpu::kR11), kHostR12);
    load_state(kHostR13, transfers.kept_flags);
    asm_.and32(kHostR12, kHostR13);
    asm_.store(kRflags, kHostR12);
    load_state(kHostR12, state.flags_slot);
    load_state(kHostR13, transfers.kept_slot);
    asm_.and32(kHostR12, kHostR13);
    store_state(state.flags_slot, kHostR12);
    emit_flat_segment(cpu::kCs, transfers.kernel_code);
    emit_flat_segment(cpu::kSs, transfers.kernel_stack);
    load_state(kHostR10, transfers.kernel_base);
    asm_.load(kHostR14, state_field(offsetof(cpu::CpuState, lstar)));
    jump_to_trampoline(exits_.into_kernel);
}

// To the lower half alone: zero is all that remains of such an address above bit 46.
void BlockBuilder::emit_sysret() {
    static_assert(kStateBias % 64 == x86::kVirtualBits - 1);
    EngineState& state = cache_.state();
    EngineState::Transfers& transfers = state.transfers;
    put_flags_in_slot();
    const uint8_t* slow = emit_slow_way(ExitKind::kInterpret);
    asm_.shrx(kHostR14, kHostRcx, kHostR15);
    asm_.test(kHostR14, kHostR14);
    asm_.jcc_to(kNotEqual, slow);
    asm_.test32_mem(slot(cpu::kR11), cpu::kFlagTf | cpu::kFlagAc);
    asm_.jcc_to(kNotEqual, slow);
    load_state(kHostR14, state.interrupt_waits);
    asm_.test(kHostR14, kHostR14);
    asm_.jcc_to(kNotEqual, slow);
    load_state(kHostR14, transfers.into_user);
    asm_.test(kHostR14, kHostR14);
    asm_.jcc_to(kEqual, slow);
    asm_.load(kHostR12, slot(cpu::kR11));
    asm_.and32_imm(kHostR12, static_cast<int32_t>(cpu::kSysretFlags & ~uint64_t{2}));
    asm_.lea32(kHostR12, {.base = kHostR12, .disp = 2});
    asm_.store(kRflags, kHostR12);
    asm_.mov32(kHostR13, kHostR12);
    asm_.and32_imm(kHostR13, 0xd5);
    asm_.shl32_imm(kHostR13, 8);
    asm_.shr32_imm(kHostR12, 11);
    asm_.and32_imm(kHostR12, 1);
    asm_.add32(kHostR13, kHostR12);
    store_state(state.flags_slot, kHostR13);
    emit_flat_segment(cpu::kCs, transfers.user_code);
    emit_flat_segment(cpu::kSs, transfers.user_stack);
    load_state(kHostR10, transfers.user_base);
    asm_.mov(kHostR14, kHostRcx);
    load_state(kHostR12, transfers.into_user);
    asm_.jmp_reg(kHostR12);
}

}  // namespace lockstep::translate
