// SPDX-License-Identifier: Apache-2.0
// System instructions that are executed all the time, translated instead of interpreted: CLI, STI, PUSHFQ,
// SWAPGS, CLD, STD, RDTSC, RDTSCP. Moves of control and segment registers (build_register_move.cc), SYSCALL and
// SYSRET (build_transfer.cc) and plain string instructions (build_string.cc) count among them. RFLAGS beyond the
// arithmetic flags is in CpuState.
//
// STI (Intel SDM vol. 2) lets no interrupt in before the end of the next instruction. It is translated only
// where that one follows in the same block; there is nothing to do then unless an interrupt waits: the block
// leaves, and the interpreter goes through with it. An interrupt can't arrive in the midst of translated code
// (EngineState:: interrupt_waits).
#include <bit>

#include "translate/block_builder.h"
#include "x86/control.h"

namespace lockstep::translate {

bool BlockBuilder::is_translated_system(const GuestInstruction& instruction) const {
    if (instruction.kind != Kind::kInterpret) return false;
    if (options_.inline_strings && !source_.mode.window && is_plain_string(instruction)) return true;
    if (!options_.inline_system) return false;
    switch (instruction.decoded.mnemonic) {
        case ZYDIS_MNEMONIC_CLD:
        case ZYDIS_MNEMONIC_STD:
        case ZYDIS_MNEMONIC_PUSHFQ:
        case ZYDIS_MNEMONIC_RDTSC:
        case ZYDIS_MNEMONIC_RDTSCP:
            return true;
        case ZYDIS_MNEMONIC_CLI:
        case ZYDIS_MNEMONIC_STI:
        case ZYDIS_MNEMONIC_SWAPGS:
            return !source_.mode.user;
        case ZYDIS_MNEMONIC_MOV:
            return is_translated_move(instruction);
        case ZYDIS_MNEMONIC_RDFSBASE:
        case ZYDIS_MNEMONIC_RDGSBASE:
            return true;
        case ZYDIS_MNEMONIC_WRFSBASE:
        case ZYDIS_MNEMONIC_WRGSBASE:
            return !source_.mode.window;  // see build_register_move.cc
        case ZYDIS_MNEMONIC_SYSCALL:
            return source_.mode.user;
        case ZYDIS_MNEMONIC_SYSRET:
            return !source_.mode.user && instruction.decoded.operand_width == 64;
        default:
            return false;
    }
}

bool BlockBuilder::has_slow_way(const GuestInstruction& instruction) {
    switch (instruction.decoded.mnemonic) {
        case ZYDIS_MNEMONIC_CLI:
        case ZYDIS_MNEMONIC_CLD:
        case ZYDIS_MNEMONIC_STD:
        case ZYDIS_MNEMONIC_PUSHFQ:
        case ZYDIS_MNEMONIC_SWAPGS:
        case ZYDIS_MNEMONIC_RDTSC:  // of the kernel, where STI is translated
        case ZYDIS_MNEMONIC_RDTSCP:
            return false;
        default:
            return true;
    }
}

void BlockBuilder::emit_system(const GuestInstruction& instruction) {
    switch (instruction.decoded.mnemonic) {
        case ZYDIS_MNEMONIC_CLD:
            return emit_clear_flag(cpu::kFlagDf);
        case ZYDIS_MNEMONIC_STD:
            return emit_set_flag(cpu::kFlagDf);
        case ZYDIS_MNEMONIC_CLI:
            return emit_clear_flag(cpu::kFlagIf);
        case ZYDIS_MNEMONIC_STI:
            return emit_sti();
        case ZYDIS_MNEMONIC_PUSHFQ:
            return emit_pushfq();
        case ZYDIS_MNEMONIC_RDTSC:
            return emit_read_tsc(false);
        case ZYDIS_MNEMONIC_RDTSCP:
            return emit_read_tsc(true);
        case ZYDIS_MNEMONIC_SWAPGS:
            return emit_swapgs();
        case ZYDIS_MNEMONIC_MOV:
            return emit_system_move(instruction);
        case ZYDIS_MNEMONIC_RDFSBASE:
        case ZYDIS_MNEMONIC_RDGSBASE:
        case ZYDIS_MNEMONIC_WRFSBASE:
        case ZYDIS_MNEMONIC_WRGSBASE:
            return emit_base_move(instruction);
        case ZYDIS_MNEMONIC_SYSCALL:
            return emit_syscall(instruction);
        case ZYDIS_MNEMONIC_SYSRET:
            return emit_sysret();
        default:
            return emit_string(instruction);
    }
}

void BlockBuilder::emit_clear_flag(uint64_t flag) {
    free_flags();
    asm_.and32_mem(kRflags, ~static_cast<uint32_t>(flag));
}

void BlockBuilder::emit_set_flag(uint64_t flag) {
    free_flags();
    asm_.or32_mem(kRflags, static_cast<uint32_t>(flag));
}

void BlockBuilder::emit_sti() {
    free_flags();
    uint32_t record = add_record({.kind = ExitKind::kInterpret, .credit = credit(), .pc = run_[index_].pc});
    load_state(kHostR12, cache_.state().interrupt_waits);
    asm_.test(kHostR12, kHostR12);
    cold_.push_back({.fixup = asm_.jcc(kNotEqual),
                     .record = record,
                     .flags = flags_in_slot_ ? Flags::kSlot : Flags::kHost});
    asm_.or32_mem(kRflags, cpu::kFlagIf);
}

void BlockBuilder::emit_swapgs() {
    HostMem base = segment_base(cpu::kGs), other = state_field(offsetof(cpu::CpuState, kernel_gs_base));
    asm_.load(kHostR12, base);
    asm_.load(kHostR13, other);
    asm_.store(base, kHostR13);
    asm_.store(other, kHostR12);
}

// TimeLine::at(), of the icount that the counter tells. A stop request may have added to the counter
// (kStopBias), so only the bits below are used.
void BlockBuilder::emit_read_tsc(bool with_processor) {
    constexpr uint8_t kCounterBits = std::countr_zero(kStopBias);
    if (source_.mode.user) {
        free_flags();
        const uint8_t* slow = emit_slow_way(ExitKind::kInterpret);
        asm_.test32_mem(state_field(offsetof(cpu::CpuState, cr4)), x86::kCr4Tsd);
        asm_.jcc_to(kNotEqual, slow);
    }
    EngineState& state = cache_.state();
    asm_.rorx(kHostR12, kHostR11, kCounterBits);
    asm_.mov_imm(kHostR13, 64 - kCounterBits);
    asm_.sarx(kHostR12, kHostR12, kHostR13);
    load_state(kHostR13, state.tsc_distance);
    asm_.lea(kHostR12, {.base = kHostR12, .index = kHostR13, .disp = -credit()});
    load_state(kHostRdx, state.tsc_rate);
    asm_.mulx(kHostR13, kHostR12);
    asm_.rorx(kHostR12, kHostR12, 32);  // bits 95 to 32 of the product
    asm_.mov32(kHostR12, kHostR12);
    asm_.rorx(kHostR13, kHostR13, 32);
    asm_.lea(kHostR12, {.base = kHostR12, .index = kHostR13});
    load_state(kHostR13, state.tsc_base);
    asm_.lea(kHostR12, {.base = kHostR12, .index = kHostR13});
    asm_.mov32(kHostRax, kHostR12);
    asm_.rorx(kHostRdx, kHostR12, 32);
    asm_.mov32(kHostRdx, kHostRdx);
    if (with_processor) asm_.load(kHostRcx, state_field(offsetof(cpu::CpuState, tsc_aux)));
}

// The arithmetic flags come from the slot: SF ZF AF PF CF in bits 8 to 15, OF in bit 0.
void BlockBuilder::emit_flags_image() {
    constexpr uint32_t kLow = 0xd5;                                    // of bits 0 to 7
    constexpr uint32_t kOthers = 0x00fcffff & ~cpu::kArithmeticFlags;  // without RF and VM
    load_state(kHostR12, cache_.state().flags_slot);
    asm_.mov32(kHostR13, kHostR12);
    asm_.shr32_imm(kHostR12, 8);
    asm_.and32_imm(kHostR12, kLow);
    asm_.and32_imm(kHostR13, 1);
    asm_.shl32_imm(kHostR13, 11);
    asm_.add32(kHostR12, kHostR13);
    asm_.load(kHostR13, kRflags);
    asm_.and32_imm(kHostR13, static_cast<int32_t>(kOthers));
    asm_.add32(kHostR12, kHostR13);
}

void BlockBuilder::emit_pushfq() {
    if (source_.mode.window) put_flags_in_slot();  // the access may fault when they have changed
    HostMem place = emit_push_lookup();
    if (!flags_in_slot_) free_flags();
    asm_.lea(kHostR14, place);
    emit_flags_image();
    asm_.store({.base = kHostR14}, kHostR12);
    asm_.lea(kHostRsp, {.base = kHostRsp, .disp = -8});
}

}  // namespace lockstep::translate
