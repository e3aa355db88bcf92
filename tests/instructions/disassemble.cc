// SPDX-License-Identifier: Apache-2.0
#include "disassemble.h"

#include <Zydis/Zydis.h>
#include <fmt/format.h>

namespace lockstep::instructions {

namespace {

ZydisDecoder make_decoder(ZydisMachineMode mode, ZydisStackWidth stack) {
    ZydisDecoder made;
    ZydisDecoderInit(&made, mode, stack);
    ZydisDecoderEnableMode(&made, ZYDIS_DECODER_MODE_KNC, ZYAN_FALSE);
    return made;
}

const ZydisDecoder& decoder(bool narrow_code) {
    static const ZydisDecoder wide = make_decoder(ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    static const ZydisDecoder narrow = make_decoder(ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
    return narrow_code ? narrow : wide;
}

uint32_t register_bit(ZydisRegister reg) {
    ZydisRegister wide = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    if (wide < ZYDIS_REGISTER_RAX || wide > ZYDIS_REGISTER_R15) return 0;
    return 1u << (wide - ZYDIS_REGISTER_RAX);
}

/// CMPS or SCAS with a prefix that repeats it.
bool is_repeated_comparison(const ZydisDecodedInstruction& instruction) {
    return instruction.meta.category == ZYDIS_CATEGORY_STRINGOP &&
           instruction.attributes & (ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
}

/// XCHG of R8 with RAX or EAX behind the prefix F3, which makes a NOP a PAUSE.
bool exchanges_after_f3(const ZydisDecodedInstruction& instruction) {
    return instruction.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && instruction.opcode == 0x90 &&
           instruction.raw.rex.B && instruction.mnemonic == ZYDIS_MNEMONIC_PAUSE;
}

/// LOOPE or LOOPNE behind F3 or F2.
bool is_repeated_loop(const ZydisDecodedInstruction& instruction) {
    bool loop = instruction.mnemonic == ZYDIS_MNEMONIC_LOOPE || instruction.mnemonic == ZYDIS_MNEMONIC_LOOPNE;
    for (unsigned i = 0; i < instruction.raw.prefix_count; ++i) {
        uint8_t prefix = instruction.raw.prefixes[i].value;
        if (loop && (prefix == 0xf2 || prefix == 0xf3)) return true;
    }
    return false;
}

/// VPEXTRQ or VPINSRQ outside of 64-bit code, where the decoder takes them for the doubleword's forms.
bool is_quadword_element(const ZydisDecodedInstruction& instruction) {
    bool element =
        instruction.mnemonic == ZYDIS_MNEMONIC_VPEXTRD || instruction.mnemonic == ZYDIS_MNEMONIC_VPINSRD;
    return element && instruction.raw.vex.W;
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

bool is_read_otherwise_by_intel(const ZydisDecodedInstruction& instruction) {
    bool to_16_bits = instruction.mnemonic == ZYDIS_MNEMONIC_MOVSXD && instruction.operand_width == 16;
    return exchanges_after_f3(instruction) || is_repeated_loop(instruction) ||
           is_quadword_element(instruction) || to_16_bits;
}

void fill_operands(const ZydisDecodedInstruction& instruction, const ZydisDecodedOperand* operands,
                   Disassembly& out) {
    for (unsigned i = 0; i < instruction.operand_count; ++i) {
        const ZydisDecodedOperand& operand = operands[i];
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) out.memory_bytes = operand.size / 8;
        out.uses_mmx |= operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
                        ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_MMX;
        if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
            (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)) {
            uint32_t bit = register_bit(operand.reg.value);
            bool seen = operand.visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT;
            (seen ? out.explicit_writes : out.hidden_writes) |= bit;
        }
    }
}

std::optional<Disassembly> decode_with(ByteSpan bytes, uint64_t at, bool text, bool narrow_code = false) {
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder(narrow_code), bytes.data(), bytes.size(), &instruction,
                                             operands)))
        return std::nullopt;
    Disassembly out;
    out.length = instruction.length;
    out.mnemonic = ZydisMnemonicGetString(instruction.mnemonic);
    out.extension = ZydisISAExtGetString(instruction.meta.isa_ext);
    out.string = instruction.meta.category == ZYDIS_CATEGORY_STRINGOP;
    out.repeated_comparison = is_repeated_comparison(instruction);
    out.narrow = instruction.address_width == (narrow_code ? 16 : 32);
    out.segment_base = instruction.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS);
    out.depends_on_the_maker = depends_on_the_maker(instruction);
    out.read_otherwise_by_intel = is_read_otherwise_by_intel(instruction);
    fill_operands(instruction, operands, out);
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

}  // namespace

std::optional<Disassembly> decode(ByteSpan bytes, uint64_t at) { return decode_with(bytes, at, false); }
std::optional<Disassembly> disassemble(ByteSpan bytes, uint64_t at) { return decode_with(bytes, at, true); }

std::optional<Disassembly> decode_in(const Image& image, uint64_t at, bool narrow_code) {
    return decode_with(code_bytes(image, at), at, false, narrow_code);
}

std::string listing(const Case& test_case) {
    Image image;
    apply_patches(test_case, image);
    std::string text;
    uint64_t end = test_case.code_start + test_case.code_size;
    for (uint64_t at = test_case.code_start; at < end;) {
        Bytes bytes = code_bytes(image, at);
        std::optional<Disassembly> instruction = decode_with(bytes, at, true, test_case.narrow_code);
        unsigned length = instruction ? instruction->length : 1;
        std::string hex;
        for (unsigned i = 0; i < length && i < bytes.size(); ++i) hex += fmt::format("{:02x} ", bytes[i]);
        text += fmt::format("    {:08x}  {:<32}{}\n", at, hex,
                            instruction ? instruction->text : "(no instruction)");
        at += length;
    }
    return text;
}

}  // namespace lockstep::instructions
