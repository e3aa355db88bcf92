// SPDX-License-Identifier: Apache-2.0
#include "translate/guest_instruction.h"

#include "cpu/cpu_state.h"
#include "cpu/decoder_corrections.h"
#include "cpu/decoders.h"
#include "translate/hint_encodings.h"
#include "translate/offered_extensions.h"

namespace lockstep::translate {

namespace {

bool is_string_instruction(ZydisInstructionCategory category) {
    return category == ZYDIS_CATEGORY_STRINGOP || category == ZYDIS_CATEGORY_IOSTRINGOP;
}

bool is_stack_width_64(const ZydisDecodedInstruction& decoded) { return decoded.operand_width == 64; }

/// Push and pop that the translator handles; the rest (segment registers, 16 bits, POP to memory) is
/// interpreted.
Kind stack_kind(Kind kind, const GuestInstruction& instruction) {
    const ZydisDecodedOperand& operand = instruction.operands[0];
    if (!is_stack_width_64(instruction.decoded)) return Kind::kInterpret;
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
        ZydisRegisterGetClass(operand.reg.value) != ZYDIS_REGCLASS_GPR64)
        return Kind::kInterpret;
    if (kind == Kind::kPop && operand.type == ZYDIS_OPERAND_TYPE_MEMORY) return Kind::kInterpret;
    return kind;
}

Kind branch_kind(const GuestInstruction& instruction, Kind direct, Kind indirect) {
    if (instruction.decoded.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) return Kind::kInterpret;
    if (instruction.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) return direct;
    return is_stack_width_64(instruction.decoded) ? indirect : Kind::kInterpret;
}

Kind move_kind(const GuestInstruction& instruction) {
    for (unsigned i = 0; i < 2; ++i) {
        const ZydisDecodedOperand& operand = instruction.operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
        ZydisRegisterClass register_class = ZydisRegisterGetClass(operand.reg.value);
        if (register_class == ZYDIS_REGCLASS_SEGMENT || register_class == ZYDIS_REGCLASS_CONTROL ||
            register_class == ZYDIS_REGCLASS_DEBUG)
            return Kind::kInterpret;
    }
    uint8_t opcode = instruction.decoded.opcode;
    bool offset_form =
        instruction.decoded.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && opcode >= 0xa0 && opcode <= 0xa3;
    return offset_form ? Kind::kMoveOffset : Kind::kCopy;
}

Kind bit_test_kind(const GuestInstruction& instruction) {
    bool register_offset = instruction.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
    bool memory = instruction.operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
    return register_offset && memory ? Kind::kBitString : Kind::kCopy;
}

Kind classify_mnemonic(const GuestInstruction& instruction) {
    const ZydisDecodedInstruction& decoded = instruction.decoded;
    switch (decoded.mnemonic) {
        case ZYDIS_MNEMONIC_NOP:
        case ZYDIS_MNEMONIC_PAUSE:
        case ZYDIS_MNEMONIC_LFENCE:
        case ZYDIS_MNEMONIC_MFENCE:
        case ZYDIS_MNEMONIC_SFENCE:
            return Kind::kNothing;
        case ZYDIS_MNEMONIC_PREFETCH:
        case ZYDIS_MNEMONIC_PREFETCHNTA:
        case ZYDIS_MNEMONIC_PREFETCHT0:
        case ZYDIS_MNEMONIC_PREFETCHT1:
        case ZYDIS_MNEMONIC_PREFETCHT2:
        case ZYDIS_MNEMONIC_PREFETCHW:
            return instruction.memory_operand() ? Kind::kPrefetch : Kind::kNothing;
        case ZYDIS_MNEMONIC_PREFETCHWT1:
            return Kind::kNothing;
        case ZYDIS_MNEMONIC_LEA:
            return Kind::kLea;
        case ZYDIS_MNEMONIC_MOV:
            return move_kind(instruction);
        case ZYDIS_MNEMONIC_BT:
        case ZYDIS_MNEMONIC_BTS:
        case ZYDIS_MNEMONIC_BTR:
        case ZYDIS_MNEMONIC_BTC:
            return bit_test_kind(instruction);
        case ZYDIS_MNEMONIC_PUSH:
            return stack_kind(Kind::kPush, instruction);
        case ZYDIS_MNEMONIC_POP:
            return stack_kind(Kind::kPop, instruction);
        case ZYDIS_MNEMONIC_CALL:
            return branch_kind(instruction, Kind::kCall, Kind::kCallIndirect);
        case ZYDIS_MNEMONIC_JMP:
            return branch_kind(instruction, Kind::kJump, Kind::kJumpIndirect);
        case ZYDIS_MNEMONIC_RET:
            return decoded.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR && is_stack_width_64(decoded)
                       ? Kind::kReturn
                       : Kind::kInterpret;
        case ZYDIS_MNEMONIC_LEAVE:
            return is_stack_width_64(decoded) ? Kind::kLeave : Kind::kInterpret;
        case ZYDIS_MNEMONIC_LOOP:
        case ZYDIS_MNEMONIC_LOOPE:
        case ZYDIS_MNEMONIC_LOOPNE:
        case ZYDIS_MNEMONIC_JCXZ:
        case ZYDIS_MNEMONIC_JECXZ:
        case ZYDIS_MNEMONIC_JRCXZ:
            return Kind::kLoop;
        case ZYDIS_MNEMONIC_FXSAVE:
        case ZYDIS_MNEMONIC_FXSAVE64:
        case ZYDIS_MNEMONIC_FXRSTOR:
        case ZYDIS_MNEMONIC_FXRSTOR64:
        case ZYDIS_MNEMONIC_XSAVE:
        case ZYDIS_MNEMONIC_XSAVE64:
        case ZYDIS_MNEMONIC_XRSTOR:
        case ZYDIS_MNEMONIC_XRSTOR64:
        case ZYDIS_MNEMONIC_FNSTENV:
        case ZYDIS_MNEMONIC_FLDENV:
        case ZYDIS_MNEMONIC_FNSAVE:
        case ZYDIS_MNEMONIC_FRSTOR:
            return Kind::kInterpretFpu;
        case ZYDIS_MNEMONIC_MASKMOVQ:
        case ZYDIS_MNEMONIC_MASKMOVDQU:
            return Kind::kInterpretFpu;
        // System instructions, and those with memory accesses of their own.
        case ZYDIS_MNEMONIC_VMASKMOVDQU:
        case ZYDIS_MNEMONIC_VMASKMOVPS:
        case ZYDIS_MNEMONIC_VMASKMOVPD:
        case ZYDIS_MNEMONIC_VPMASKMOVD:
        case ZYDIS_MNEMONIC_VPMASKMOVQ:
        case ZYDIS_MNEMONIC_VGATHERDPS:
        case ZYDIS_MNEMONIC_VGATHERDPD:
        case ZYDIS_MNEMONIC_VGATHERQPS:
        case ZYDIS_MNEMONIC_VGATHERQPD:
        case ZYDIS_MNEMONIC_VPGATHERDD:
        case ZYDIS_MNEMONIC_VPGATHERDQ:
        case ZYDIS_MNEMONIC_VPGATHERQD:
        case ZYDIS_MNEMONIC_VPGATHERQQ:
        case ZYDIS_MNEMONIC_CLI:
        case ZYDIS_MNEMONIC_STI:
        case ZYDIS_MNEMONIC_CLD:
        case ZYDIS_MNEMONIC_STD:
        case ZYDIS_MNEMONIC_PUSHF:
        case ZYDIS_MNEMONIC_PUSHFQ:
        case ZYDIS_MNEMONIC_POPF:
        case ZYDIS_MNEMONIC_POPFQ:
        case ZYDIS_MNEMONIC_PUSHFD:
        case ZYDIS_MNEMONIC_POPFD:
        case ZYDIS_MNEMONIC_PUSHA:
        case ZYDIS_MNEMONIC_PUSHAD:
        case ZYDIS_MNEMONIC_POPA:
        case ZYDIS_MNEMONIC_POPAD:
        case ZYDIS_MNEMONIC_BOUND:
        case ZYDIS_MNEMONIC_ARPL:
        case ZYDIS_MNEMONIC_SALC:
        case ZYDIS_MNEMONIC_AAA:
        case ZYDIS_MNEMONIC_AAS:
        case ZYDIS_MNEMONIC_AAM:
        case ZYDIS_MNEMONIC_AAD:
        case ZYDIS_MNEMONIC_DAA:
        case ZYDIS_MNEMONIC_DAS:
        case ZYDIS_MNEMONIC_INTO:
        case ZYDIS_MNEMONIC_LDS:
        case ZYDIS_MNEMONIC_LES:
        case ZYDIS_MNEMONIC_IN:
        case ZYDIS_MNEMONIC_OUT:
        case ZYDIS_MNEMONIC_HLT:
        case ZYDIS_MNEMONIC_XLAT:
        case ZYDIS_MNEMONIC_ENTER:
        case ZYDIS_MNEMONIC_CPUID:
        case ZYDIS_MNEMONIC_RDTSC:
        case ZYDIS_MNEMONIC_RDTSCP:
        case ZYDIS_MNEMONIC_RDPMC:
        case ZYDIS_MNEMONIC_RDMSR:
        case ZYDIS_MNEMONIC_WRMSR:
        case ZYDIS_MNEMONIC_LGDT:
        case ZYDIS_MNEMONIC_LIDT:
        case ZYDIS_MNEMONIC_SGDT:
        case ZYDIS_MNEMONIC_SIDT:
        case ZYDIS_MNEMONIC_LLDT:
        case ZYDIS_MNEMONIC_LTR:
        case ZYDIS_MNEMONIC_STR:
        case ZYDIS_MNEMONIC_SLDT:
        case ZYDIS_MNEMONIC_SMSW:
        case ZYDIS_MNEMONIC_LMSW:
        case ZYDIS_MNEMONIC_CLTS:
        case ZYDIS_MNEMONIC_INVLPG:
        case ZYDIS_MNEMONIC_INVPCID:
        case ZYDIS_MNEMONIC_CLFLUSH:
        case ZYDIS_MNEMONIC_WBINVD:
        case ZYDIS_MNEMONIC_INVD:
        case ZYDIS_MNEMONIC_SYSCALL:
        case ZYDIS_MNEMONIC_SYSRET:
        case ZYDIS_MNEMONIC_SYSENTER:
        case ZYDIS_MNEMONIC_SYSEXIT:
        case ZYDIS_MNEMONIC_SWAPGS:
        case ZYDIS_MNEMONIC_IRET:
        case ZYDIS_MNEMONIC_IRETD:
        case ZYDIS_MNEMONIC_IRETQ:
        case ZYDIS_MNEMONIC_INT:
        case ZYDIS_MNEMONIC_INT1:
        case ZYDIS_MNEMONIC_INT3:
        case ZYDIS_MNEMONIC_LFS:
        case ZYDIS_MNEMONIC_LGS:
        case ZYDIS_MNEMONIC_LSS:
        case ZYDIS_MNEMONIC_RDFSBASE:
        case ZYDIS_MNEMONIC_RDGSBASE:
        case ZYDIS_MNEMONIC_WRFSBASE:
        case ZYDIS_MNEMONIC_WRGSBASE:
        case ZYDIS_MNEMONIC_LAR:
        case ZYDIS_MNEMONIC_LSL:
        case ZYDIS_MNEMONIC_VERR:
        case ZYDIS_MNEMONIC_VERW:
        case ZYDIS_MNEMONIC_XGETBV:
        case ZYDIS_MNEMONIC_XSETBV:
            return Kind::kInterpret;
        case ZYDIS_MNEMONIC_UD0:
        case ZYDIS_MNEMONIC_UD1:
        case ZYDIS_MNEMONIC_UD2:
        case ZYDIS_MNEMONIC_RSM:  // of the system management mode alone
            return Kind::kUndefined;
        default:
            break;
    }
    if (is_string_instruction(decoded.meta.category)) return Kind::kInterpret;
    if (decoded.meta.category == ZYDIS_CATEGORY_COND_BR) return Kind::kConditional;
    return Kind::kCopy;
}

bool has_register_encoding(const ZydisDecodedInstruction& decoded) {
    return decoded.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
           decoded.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
}

/// VPEXTRQ and VPINSRQ are for 64-bit code; elsewhere the decoder takes them for the doubleword's forms.
bool is_wide_element_in_narrow_code(const GuestInstruction& instruction) {
    ZydisMnemonic mnemonic = instruction.decoded.mnemonic;
    bool element = mnemonic == ZYDIS_MNEMONIC_VPEXTRD || mnemonic == ZYDIS_MNEMONIC_VPINSRD;
    return element && instruction.is_narrow() && instruction.decoded.raw.vex.W;
}

Kind classify(const GuestInstruction& instruction) {
    Kind kind = classify_mnemonic(instruction);
    bool offered = has_register_encoding(instruction.decoded) && is_offered(instruction.decoded.meta.isa_ext);
    bool legacy = instruction.decoded.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
    if (legacy && (kind == Kind::kInterpret || kind == Kind::kInterpretFpu)) return kind;
    if (!offered || is_wide_element_in_narrow_code(instruction)) return Kind::kUndefined;
    return kind;
}

/// Flags left "undefined" by the manual that every known CPU sets without regard to their former value. For
/// the others (multiplication, rotation, BT, division, LZCNT) CPUs keep the former value, so they aren't
/// written.
bool undefined_means_written(const GuestInstruction& instruction) {
    switch (instruction.decoded.mnemonic) {
        case ZYDIS_MNEMONIC_AND:
        case ZYDIS_MNEMONIC_OR:
        case ZYDIS_MNEMONIC_XOR:
        case ZYDIS_MNEMONIC_TEST:
            return true;
        case ZYDIS_MNEMONIC_SHL:
        case ZYDIS_MNEMONIC_SHR:
        case ZYDIS_MNEMONIC_SAR:
            return true;
        default:
            return false;
    }
}

bool is_shift_or_rotate(ZydisMnemonic mnemonic) {
    switch (mnemonic) {
        case ZYDIS_MNEMONIC_SHL:
        case ZYDIS_MNEMONIC_SHR:
        case ZYDIS_MNEMONIC_SAR:
        case ZYDIS_MNEMONIC_ROL:
        case ZYDIS_MNEMONIC_ROR:
        case ZYDIS_MNEMONIC_RCL:
        case ZYDIS_MNEMONIC_RCR:
        case ZYDIS_MNEMONIC_SHLD:
        case ZYDIS_MNEMONIC_SHRD:
            return true;
        default:
            return false;
    }
}

/// A shift by a count of zero keeps all flags.
bool may_keep_flags(const GuestInstruction& instruction) {
    if (!is_shift_or_rotate(instruction.decoded.mnemonic)) return false;
    const ZydisDecodedInstruction& decoded = instruction.decoded;
    for (unsigned i = 1; i < decoded.operand_count_visible; ++i) {
        const ZydisDecodedOperand& operand = instruction.operands[i];
        if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            uint64_t mask = decoded.operand_width == 64 ? 63 : 31;
            return (operand.imm.value.u & mask) == 0;
        }
    }
    for (unsigned i = 1; i < decoded.operand_count; ++i)
        if (instruction.operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            instruction.operands[i].reg.value == ZYDIS_REGISTER_CL)
            return true;
    return false;
}

void find_flags(GuestInstruction& instruction) {
    switch (instruction.kind) {
        case Kind::kCopy:
        case Kind::kNothing:
        case Kind::kLea:
        case Kind::kPrefetch:
        case Kind::kMoveOffset:
        case Kind::kBitString:
        case Kind::kPush:
        case Kind::kPop:
        case Kind::kLeave:
            break;
        default:
            instruction.flags_read = kAllFlags;
            return;
    }
    const ZydisAccessedFlags* flags = instruction.decoded.cpu_flags;
    if (!flags) return;
    instruction.touches_flags =
        pack_flags(flags->tested | flags->modified | flags->set_0 | flags->set_1 | flags->undefined);
    uint32_t written = flags->modified | flags->set_0 | flags->set_1;
    if (undefined_means_written(instruction)) written |= flags->undefined;
    if (may_keep_flags(instruction)) {
        instruction.flags_read = kAllFlags;
        return;
    }
    instruction.flags_read = pack_flags(flags->tested);
    instruction.flags_written = pack_flags(written);
}

}  // namespace

uint8_t pack_flags(uint32_t mask) {
    return static_cast<uint8_t>((mask & cpu::kFlagCf ? 1 : 0) | (mask & cpu::kFlagPf ? 2 : 0) |
                                (mask & cpu::kFlagAf ? 4 : 0) | (mask & cpu::kFlagZf ? 8 : 0) |
                                (mask & cpu::kFlagSf ? 16 : 0) | (mask & cpu::kFlagOf ? 32 : 0));
}

uint64_t unpack_flags(uint8_t packed) {
    return (packed & 1 ? cpu::kFlagCf : 0) | (packed & 2 ? cpu::kFlagPf : 0) |
           (packed & 4 ? cpu::kFlagAf : 0) | (packed & 8 ? cpu::kFlagZf : 0) |
           (packed & 16 ? cpu::kFlagSf : 0) | (packed & 32 ? cpu::kFlagOf : 0);
}

const ZydisDecodedOperand* GuestInstruction::memory_operand() const {
    for (unsigned i = 0; i < decoded.operand_count_visible; ++i)
        if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY && operands[i].mem.type == ZYDIS_MEMOP_TYPE_MEM &&
            operands[i].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
            return &operands[i];
    return nullptr;
}

bool GuestInstruction::is_aligned_move() const {
    switch (decoded.mnemonic) {
        case ZYDIS_MNEMONIC_MOVAPS:
        case ZYDIS_MNEMONIC_MOVAPD:
        case ZYDIS_MNEMONIC_MOVDQA:
        case ZYDIS_MNEMONIC_MOVNTDQ:
        case ZYDIS_MNEMONIC_MOVNTPS:
        case ZYDIS_MNEMONIC_MOVNTPD:
        case ZYDIS_MNEMONIC_MOVNTDQA:
        case ZYDIS_MNEMONIC_CMPXCHG16B:
        case ZYDIS_MNEMONIC_VMOVAPS:
        case ZYDIS_MNEMONIC_VMOVAPD:
        case ZYDIS_MNEMONIC_VMOVDQA:
        case ZYDIS_MNEMONIC_VMOVNTDQ:
        case ZYDIS_MNEMONIC_VMOVNTPS:
        case ZYDIS_MNEMONIC_VMOVNTPD:
        case ZYDIS_MNEMONIC_VMOVNTDQA:
            return true;
        default:
            return false;
    }
}

bool GuestInstruction::clears_upper_halves() const {
    return decoded.mnemonic == ZYDIS_MNEMONIC_VZEROUPPER || decoded.mnemonic == ZYDIS_MNEMONIC_VZEROALL;
}

bool GuestInstruction::fills_upper_halves() const {
    return uses_avx() && decoded.raw.vex.L && !clears_upper_halves();
}

bool GuestInstruction::requires_alignment(unsigned size) const {
    if (decoded.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) return is_aligned_move();
    if (size != 16) return false;
    // Processors differ: by the manuals SHA instructions check it, and AMD's don't. What the host does is
    // right.
    if (decoded.meta.isa_ext == ZYDIS_ISA_EXT_SHA) return false;
    switch (decoded.mnemonic) {
        case ZYDIS_MNEMONIC_MOVUPS:
        case ZYDIS_MNEMONIC_MOVUPD:
        case ZYDIS_MNEMONIC_MOVDQU:
        case ZYDIS_MNEMONIC_LDDQU:
        case ZYDIS_MNEMONIC_PCMPESTRI:
        case ZYDIS_MNEMONIC_PCMPESTRM:
        case ZYDIS_MNEMONIC_PCMPISTRI:
        case ZYDIS_MNEMONIC_PCMPISTRM:
            return false;
        default:
            return true;
    }
}

bool GuestInstruction::uses_x87_registers() const {
    if (decoded.meta.isa_ext == ZYDIS_ISA_EXT_X87) return true;
    if (decoded.mnemonic == ZYDIS_MNEMONIC_FISTTP) return true;  // came with SSE3, and counts as that
    for (unsigned i = 0; i < decoded.operand_count_visible; ++i)
        if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(operands[i].reg.value) == ZYDIS_REGCLASS_MMX)
            return true;
    return false;
}

bool GuestInstruction::stores_more_than_memory() const {
    return uses_x87_registers() || decoded.mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH;
}

bool GuestInstruction::waits_for_x87() const {
    switch (decoded.mnemonic) {
        case ZYDIS_MNEMONIC_FNCLEX:
        case ZYDIS_MNEMONIC_FNINIT:
        case ZYDIS_MNEMONIC_FNSAVE:
        case ZYDIS_MNEMONIC_FNSTCW:
        case ZYDIS_MNEMONIC_FNSTENV:
        case ZYDIS_MNEMONIC_FNSTSW:
            return false;
        default:
            return uses_x87_registers();
    }
}

uint64_t GuestInstruction::branch_target() const {
    uint64_t target = next_pc() + static_cast<uint64_t>(operands[0].imm.value.s);
    return is_narrow() ? static_cast<uint32_t>(target) : target;
}

bool decode(std::span<const uint8_t> bytes, uint64_t pc, GuestInstruction& out, cpu::CodeWidth width) {
    out.pc = pc;
    out.width = width;
    out.bytes = bytes.data();
    out.flags_read = out.flags_written = 0;
    out.registers = x86::Component::kGeneral;
    out.touches_flags = false;
    InstructionBytes room;
    std::span<const uint8_t> seen = as_executed(bytes, width, room);
    ZyanStatus status = ZydisDecoderDecodeFull(&cpu::decoder_for(width), seen.data(), seen.size(),
                                               &out.decoded, out.operands);
    bool too_long = status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG;
    if (status == ZYDIS_STATUS_NO_MORE_DATA) {
        if (bytes.size() < kLongestInstruction) return false;
        too_long = true;
    }
    if (!ZYAN_SUCCESS(status)) {
        out.kind = too_long ? Kind::kTooLong : Kind::kUndefined;
        out.length = 1;
        out.flags_read = kAllFlags;
        return true;
    }
    cpu::correct_operands(out.decoded, out.operands);
    out.length = out.decoded.length;
    out.kind = classify(out);
    out.registers = registers_of(out.decoded.meta.isa_ext).value_or(x86::Component::kGeneral);
    find_flags(out);
    return true;
}

}  // namespace lockstep::translate
