// SPDX-License-Identifier: Apache-2.0
#include "disassemble.h"

#include <Zydis/Zydis.h>
#include <fmt/format.h>

namespace lockstep::instructions {

namespace {

const ZydisDecoder& decoder() {
    static const ZydisDecoder value = [] {
        ZydisDecoder made;
        ZydisDecoderInit(&made, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        ZydisDecoderEnableMode(&made, ZYDIS_DECODER_MODE_KNC, ZYAN_FALSE);
        return made;
    }();
    return value;
}

uint32_t register_bit(ZydisRegister reg) {
    ZydisRegister wide = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    if (wide < ZYDIS_REGISTER_RAX || wide > ZYDIS_REGISTER_R15) return 0;
    return 1u << (wide - ZYDIS_REGISTER_RAX);
}

bool is_shift_or_rotate(ZydisMnemonic mnemonic) {
    switch (mnemonic) {
        case ZYDIS_MNEMONIC_ROL:
        case ZYDIS_MNEMONIC_ROR:
        case ZYDIS_MNEMONIC_RCL:
        case ZYDIS_MNEMONIC_RCR:
        case ZYDIS_MNEMONIC_SHL:
        case ZYDIS_MNEMONIC_SHR:
        case ZYDIS_MNEMONIC_SAR:
        case ZYDIS_MNEMONIC_SHLD:
        case ZYDIS_MNEMONIC_SHRD:
            return true;
        default:
            return false;
    }
}

/// Instructions that leave all flags as they were for some operands: a count of zero, a repetition of none.
bool may_keep_flags(const ZydisDecodedInstruction& instruction, const ZydisDecodedOperand* operands) {
    if (!is_shift_or_rotate(instruction.mnemonic))
        return instruction.attributes &
               (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
    for (unsigned i = 1; i < instruction.operand_count; ++i)
        if (operands[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
            return (operands[i].imm.value.u & (instruction.operand_width == 64 ? 63 : 31)) == 0;
    return true;
}

/// Flags left undefined by the manual that a CPU keeps in fact (oracle_test.cc measures it).
uint64_t kept_undefined_flags(const ZydisDecodedInstruction& instruction) {
    switch (instruction.mnemonic) {
        case ZYDIS_MNEMONIC_BT:
        case ZYDIS_MNEMONIC_BTS:
        case ZYDIS_MNEMONIC_BTR:
        case ZYDIS_MNEMONIC_BTC:
        case ZYDIS_MNEMONIC_MUL:
        case ZYDIS_MNEMONIC_IMUL:
        case ZYDIS_MNEMONIC_DIV:
        case ZYDIS_MNEMONIC_IDIV:
        case ZYDIS_MNEMONIC_LZCNT:
        case ZYDIS_MNEMONIC_TZCNT:
            return instruction.cpu_flags->undefined;
        default:
            return 0;
    }
}

/// A near branch with the prefix 66, a far pointer with REX.W, 0F 0D without memory.
bool depends_on_the_maker(const ZydisDecodedInstruction& instruction) {
    bool far_pointer = instruction.mnemonic == ZYDIS_MNEMONIC_LSS ||
                       instruction.mnemonic == ZYDIS_MNEMONIC_LFS ||
                       instruction.mnemonic == ZYDIS_MNEMONIC_LGS;
    if (instruction.opcode_map == ZYDIS_OPCODE_MAP_0F && instruction.opcode == 0x0d &&
        instruction.raw.modrm.mod == 3)
        return true;
    bool memory = instruction.attributes & ZYDIS_ATTRIB_HAS_MODRM;
    switch (instruction.meta.branch_type) {
        case ZYDIS_BRANCH_TYPE_NONE:
            return far_pointer && instruction.raw.rex.W;
        case ZYDIS_BRANCH_TYPE_FAR:
            return memory && instruction.raw.rex.W;
        default:
            return instruction.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE;
    }
}

void fill_operands(const ZydisDecodedInstruction& instruction, const ZydisDecodedOperand* operands,
                   uint64_t at, Disassembly& out) {
    for (unsigned i = 0; i < instruction.operand_count; ++i) {
        const ZydisDecodedOperand& operand = operands[i];
        out.uses_mmx |= operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
                        ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_MMX;
        if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
            (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)) {
            uint32_t bit = register_bit(operand.reg.value);
            bool seen = operand.visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT;
            (seen ? out.explicit_writes : out.hidden_writes) |= bit;
        }
        ZyanU64 target;
        if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operand.imm.is_relative &&
            ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&instruction, &operand, at, &target)))
            out.target = target;
    }
}

std::optional<Disassembly> decode_with(ByteSpan bytes, uint64_t at, bool text) {
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder(), bytes.data(), bytes.size(), &instruction, operands)))
        return std::nullopt;
    Disassembly out;
    out.length = instruction.length;
    out.mnemonic = ZydisMnemonicGetString(instruction.mnemonic);
    out.extension = ZydisISAExtGetString(instruction.meta.isa_ext);
    out.string = instruction.meta.category == ZYDIS_CATEGORY_STRINGOP;
    out.narrow = instruction.address_width == 32;
    out.segment_base = instruction.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS);
    out.depends_on_the_maker = depends_on_the_maker(instruction);
    fill_operands(instruction, operands, at, out);
    if (instruction.cpu_flags) {
        const ZydisAccessedFlags& flags = *instruction.cpu_flags;
        out.flags_read = flags.tested & cpu::kArithmeticFlags;
        uint64_t written = flags.modified | flags.set_0 | flags.set_1 | flags.undefined;
        if (!may_keep_flags(instruction, operands))
            out.flags_written = written & ~kept_undefined_flags(instruction) & cpu::kArithmeticFlags;
    }
    if (instruction.mnemonic == ZYDIS_MNEMONIC_PUSHFQ || instruction.mnemonic == ZYDIS_MNEMONIC_PUSHF)
        out.flags_read = cpu::kArithmeticFlags;
    ZydisInstructionCategory category = instruction.meta.category;
    out.unconditional = category == ZYDIS_CATEGORY_UNCOND_BR || category == ZYDIS_CATEGORY_CALL;
    out.branch = out.unconditional || category == ZYDIS_CATEGORY_COND_BR || category == ZYDIS_CATEGORY_RET ||
                 category == ZYDIS_CATEGORY_INTERRUPT || category == ZYDIS_CATEGORY_SYSCALL;
    if (text) {
        ZydisFormatter formatter;
        ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
        char buffer[256];
        ZydisFormatterFormatInstruction(&formatter, &instruction, operands, instruction.operand_count_visible,
                                        buffer, sizeof buffer, at, nullptr);
        out.text = buffer;
    }
    return out;
}

/// The bytes of the image from `at` on, as far as an instruction may go.
Bytes code_bytes(const Image& image, uint64_t at) {
    Bytes bytes;
    for (unsigned i = 0; i < 15; ++i) {
        std::optional<size_t> offset = image_offset(at + i);
        if (!offset) break;
        bytes.push_back(image[*offset]);
    }
    return bytes;
}

uint64_t live_flags_from(const Case& test_case, const Image& image, uint64_t rip, unsigned depth) {
    uint64_t decided = 0, live = 0;
    for (unsigned steps = 0; steps < 64; ++steps) {
        if (rip < test_case.code_start || rip >= test_case.code_start + test_case.code_size || depth > 6)
            break;
        std::optional<Disassembly> instruction = decode(code_bytes(image, rip), rip);
        if (!instruction) break;
        live |= instruction->flags_read & ~decided;
        decided |= instruction->flags_read | instruction->flags_written;
        if (decided == cpu::kArithmeticFlags) return live;
        if (instruction->branch) {
            if (!instruction->target) break;
            uint64_t beyond = live_flags_from(test_case, image, *instruction->target, depth + 1);
            if (!instruction->unconditional)
                beyond |= live_flags_from(test_case, image, rip + instruction->length, depth + 1);
            return live | (beyond & ~decided);
        }
        rip += instruction->length;
    }
    return live | (cpu::kArithmeticFlags & ~decided);
}

}  // namespace

std::optional<Disassembly> decode(ByteSpan bytes, uint64_t at) { return decode_with(bytes, at, false); }
std::optional<Disassembly> disassemble(ByteSpan bytes, uint64_t at) { return decode_with(bytes, at, true); }

std::optional<Disassembly> decode_in(const Image& image, uint64_t at) {
    return decode(code_bytes(image, at), at);
}

std::string listing(const Case& test_case) {
    Image image;
    apply_patches(test_case, image);
    std::string text;
    uint64_t end = test_case.code_start + test_case.code_size;
    for (uint64_t at = test_case.code_start; at < end;) {
        Bytes bytes = code_bytes(image, at);
        std::optional<Disassembly> instruction = disassemble(bytes, at);
        unsigned length = instruction ? instruction->length : 1;
        std::string hex;
        for (unsigned i = 0; i < length && i < bytes.size(); ++i) hex += fmt::format("{:02x} ", bytes[i]);
        text += fmt::format("    {:08x}  {:<32}{}\n", at, hex,
                            instruction ? instruction->text : "(no instruction)");
        at += length;
    }
    return text;
}

uint64_t live_flags(const Case& test_case, const Image& image, uint64_t rip) {
    return live_flags_from(test_case, image, rip, 0);
}

}  // namespace lockstep::instructions
