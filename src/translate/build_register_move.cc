// SPDX-License-Identifier: Apache-2.0
// Moves between general registers and those of the system: MOV from CR0, CR2, CR3 and CR4, MOV from segment registers
// and of null selectors to ES, DS, FS and GS, RDFSBASE and its relatives. A kernel does them at each switch of threads,
// and at each page fault. Selectors that name a descriptor are the interpreter's.
#include "translate/block_builder.h"
#include "x86/control.h"
#include "x86/paging.h"

namespace lockstep::translate {

namespace {

uint8_t number_of(const ZydisDecodedOperand& operand) {
    return static_cast<uint8_t>(ZydisRegisterGetId(operand.reg.value));
}

ZydisRegisterClass class_of(const ZydisDecodedOperand& operand) {
    return operand.type == ZYDIS_OPERAND_TYPE_REGISTER ? ZydisRegisterGetClass(operand.reg.value)
                                                       : ZYDIS_REGCLASS_INVALID;
}

bool is_wide_gpr(const ZydisDecodedOperand& operand) {
    return class_of(operand) == ZYDIS_REGCLASS_GPR64 || class_of(operand) == ZYDIS_REGCLASS_GPR32;
}

bool is_gpr(const ZydisDecodedOperand& operand) {
    return is_wide_gpr(operand) || class_of(operand) == ZYDIS_REGCLASS_GPR16;
}

/// The field of a control register that is plain data; nullopt: of another one.
std::optional<size_t> control_field(uint8_t number) {
    switch (number) {
        case 0:
            return offsetof(cpu::CpuState, cr0);
        case 2:
            return offsetof(cpu::CpuState, cr2);
        case 3:
            return offsetof(cpu::CpuState, cr3);
        case 4:
            return offsetof(cpu::CpuState, cr4);
        default:
            return std::nullopt;
    }
}

constexpr size_t segment_field(uint8_t segment) {
    return offsetof(cpu::CpuState, segments) + segment * sizeof(cpu::SegmentRegister);
}

}  // namespace

bool BlockBuilder::is_translated_move(const GuestInstruction& instruction) const {
    const ZydisDecodedOperand &to = instruction.operands[0], &from = instruction.operands[1];
    if (class_of(from) == ZYDIS_REGCLASS_CONTROL)
        return !source_.mode.user && control_field(number_of(from)).has_value();
    if (class_of(from) == ZYDIS_REGCLASS_SEGMENT) return is_gpr(to);
    if (source_.mode.window) return false;  // which takes the bases of FS and GS for constants of a block
    uint8_t segment = class_of(to) == ZYDIS_REGCLASS_SEGMENT ? number_of(to) : uint8_t{cpu::kCs};
    return segment != cpu::kCs && segment != cpu::kSs && segment <= cpu::kGs && is_gpr(from);
}

void BlockBuilder::store_guest(uint8_t number, HostReg from) {
    if (number >= cpu::kR10) return asm_.store(slot(number), from);
    if (number == cpu::kRsp) stack_aligned_ = false;
    asm_.mov(static_cast<HostReg>(number), from);
}

void BlockBuilder::store_guest_word(uint8_t number, HostReg from) {
    if (number < cpu::kR10) {
        if (number == cpu::kRsp) stack_aligned_ = false;
        return asm_.mov16(static_cast<HostReg>(number), from);
    }
    asm_.load(kHostR13, slot(number));
    asm_.mov16(kHostR13, from);
    asm_.store(slot(number), kHostR13);
}

void BlockBuilder::emit_system_move(const GuestInstruction& instruction) {
    const ZydisDecodedOperand &to = instruction.operands[0], &from = instruction.operands[1];
    if (class_of(to) == ZYDIS_REGCLASS_SEGMENT) return emit_load_selector(number_of(to), number_of(from));
    if (class_of(from) == ZYDIS_REGCLASS_CONTROL) {
        asm_.load(kHostR12, state_field(*control_field(number_of(from))));
    } else {
        asm_.load(kHostR12, state_field(segment_field(number_of(from))));
        if (class_of(to) == ZYDIS_REGCLASS_GPR16) return store_guest_word(number_of(to), kHostR12);
        asm_.movzx16(kHostR12, kHostR12);
    }
    store_guest(number_of(to), kHostR12);
}

// A null selector leaves nothing of the segment but itself.
void BlockBuilder::emit_load_selector(uint8_t segment, uint8_t from) {
    static_assert(offsetof(cpu::SegmentRegister, selector) == 0);
    free_flags();
    const uint8_t* slow = emit_slow_way(ExitKind::kInterpret);
    load_guest(kHostR12, from);
    asm_.movzx16(kHostR12, kHostR12);
    asm_.mov32(kHostR13, kHostR12);
    asm_.shr32_imm(kHostR13, 2);
    asm_.jcc_to(kNotEqual, slow);
    asm_.store(state_field(segment_field(segment)), kHostR12);
    asm_.store_imm(segment_base(static_cast<cpu::Segment>(segment)), 0);
}

// A base that isn't canonical is refused: above bit 46 there must be nothing but copies of bit 47.
void BlockBuilder::emit_base_move(const GuestInstruction& instruction) {
    static_assert(kStateBias % 64 == x86::kVirtualBits - 1);
    ZydisMnemonic mnemonic = instruction.decoded.mnemonic;
    bool reads = mnemonic == ZYDIS_MNEMONIC_RDFSBASE || mnemonic == ZYDIS_MNEMONIC_RDGSBASE;
    bool fs = mnemonic == ZYDIS_MNEMONIC_RDFSBASE || mnemonic == ZYDIS_MNEMONIC_WRFSBASE;
    bool wide = instruction.decoded.operand_width == 64;
    uint8_t number = number_of(instruction.operands[0]);
    HostMem base = segment_base(fs ? cpu::kFs : cpu::kGs);
    free_flags();
    const uint8_t* slow = emit_slow_way(ExitKind::kInterpret);
    asm_.test32_mem(state_field(offsetof(cpu::CpuState, cr4)), x86::kCr4Fsgsbase);
    asm_.jcc_to(kEqual, slow);
    if (reads) {
        asm_.load(kHostR12, base);
    } else {
        load_guest(kHostR12, number);
    }
    if (!wide) asm_.mov32(kHostR12, kHostR12);
    if (reads) return store_guest(number, kHostR12);
    if (wide) {
        asm_.sarx(kHostR13, kHostR12, kHostR15);
        asm_.lea(kHostR13, {.base = kHostR13, .disp = 1});
        asm_.shr_imm(kHostR13, 1);
        asm_.jcc_to(kNotEqual, slow);
    }
    asm_.store(base, kHostR12);
}

}  // namespace lockstep::translate
