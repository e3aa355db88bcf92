// System instructions that kernels execute all the time, translated instead of interpreted: CLI, STI, PUSHFQ,
// SWAPGS, CLD, STD. RFLAGS beyond the arithmetic flags is in CpuState.
//
// STI (Intel SDM vol. 2) lets no interrupt in before the end of the next instruction. It is translated only
// where that one follows in the same block; there is nothing to do then unless an interrupt waits: the block
// leaves, and the interpreter goes through with it. An interrupt can't arrive in the midst of translated code
// (EngineState:: interrupt_waits).
#include "translate/block_builder.h"

namespace lockstep::translate {

namespace {

HostMem state_field(size_t offset) {
    return {.base = kHostR15, .disp = static_cast<int32_t>(offset) - kStateBias};
}

const HostMem kRflags = state_field(offsetof(cpu::CpuState, rflags));

}  // namespace

bool BlockBuilder::is_translated_system(const GuestInstruction& instruction) const {
    if (!options_.inline_system || instruction.kind != Kind::kInterpret) return false;
    switch (instruction.decoded.mnemonic) {
        case ZYDIS_MNEMONIC_CLD:
        case ZYDIS_MNEMONIC_STD:
        case ZYDIS_MNEMONIC_PUSHFQ:
            return true;
        case ZYDIS_MNEMONIC_CLI:
        case ZYDIS_MNEMONIC_STI:
        case ZYDIS_MNEMONIC_SWAPGS:
            return !source_.user;
        default:
            return false;
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
        default:
            return emit_swapgs();
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

// The arithmetic flags come from the slot, where the access has put them: SF ZF AF PF CF in bits 8 to 15, OF
// in bit 0.
void BlockBuilder::emit_pushfq() {
    constexpr uint32_t kLow = 0xd5;                                    // of bits 0 to 7
    constexpr uint32_t kOthers = 0x00fcffff & ~cpu::kArithmeticFlags;  // without RF and VM
    if (source_.window) put_flags_in_slot();  // the access may fault when they have changed
    HostMem place = emit_push_lookup();
    if (!flags_in_slot_) free_flags();
    asm_.lea(kHostR14, place);
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
    asm_.store({.base = kHostR14}, kHostR12);
    asm_.lea(kHostRsp, {.base = kHostRsp, .disp = -8});
}

}  // namespace lockstep::translate
