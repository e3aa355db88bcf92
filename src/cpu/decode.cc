// SPDX-License-Identifier: Apache-2.0
// From bytes to Instruction, through Zydis.
#include <Zydis/Zydis.h>

#include <algorithm>
#include <cstring>

#include "cpu/decoder_corrections.h"
#include "cpu/decoders.h"
#include "cpu/handlers.h"
#include "cpu/interpret_table.h"

namespace lockstep::cpu {

namespace {

uint8_t register_number(ZydisRegister name) {
    return name == ZYDIS_REGISTER_NONE ? kNoRegister : static_cast<uint8_t>(ZydisRegisterGetId(name));
}

OperandKind register_kind(ZydisRegister name) {
    switch (ZydisRegisterGetClass(name)) {
        case ZYDIS_REGCLASS_SEGMENT:
            return OperandKind::kSegment;
        case ZYDIS_REGCLASS_CONTROL:
            return OperandKind::kControl;
        case ZYDIS_REGCLASS_DEBUG:
            return OperandKind::kDebug;
        default:
            return OperandKind::kRegister;
    }
}

/// FS and GS are the only segments with a base in 64-bit mode.
uint8_t segment_that_counts(ZydisRegister name, CodeWidth width) {
    if (width != CodeWidth::k64) return register_number(name);
    if (name == ZYDIS_REGISTER_FS) return kFs;
    if (name == ZYDIS_REGISTER_GS) return kGs;
    return kNoRegister;
}

void take_memory(const ZydisDecodedOperandMem& memory, Instruction& out) {
    out.rip_relative = memory.base == ZYDIS_REGISTER_RIP || memory.base == ZYDIS_REGISTER_EIP;
    out.base = out.rip_relative ? kNoRegister : register_number(memory.base);
    (memory.type == ZYDIS_MEMOP_TYPE_VSIB ? out.vector_index : out.index) = register_number(memory.index);
    out.scale = std::max<uint8_t>(memory.scale, 1);
    out.displacement = memory.disp.has_displacement ? memory.disp.value : 0;
    out.segment = segment_that_counts(memory.segment, out.width);
    out.stack_segment = memory.segment == ZYDIS_REGISTER_SS && out.width == CodeWidth::k64;
}

void take_operand(const ZydisDecodedOperand& from, Operand& to, Instruction& out) {
    to.size = static_cast<uint8_t>(from.size / 8);
    switch (from.type) {
        case ZYDIS_OPERAND_TYPE_REGISTER:
            to.kind = register_kind(from.reg.value);
            to.number = register_number(from.reg.value);
            break;
        case ZYDIS_OPERAND_TYPE_MEMORY:
            to.kind = OperandKind::kMemory;
            take_memory(from.mem, out);
            break;
        case ZYDIS_OPERAND_TYPE_IMMEDIATE:
            to.kind = OperandKind::kImmediate;
            break;
        case ZYDIS_OPERAND_TYPE_POINTER:
            to.kind = OperandKind::kFarPointer;
            break;
        default:
            break;
    }
}

/// The last of F2 and F3 wins.
Repeat repeat_of(const ZydisDecodedInstruction& from) {
    Repeat repeat = Repeat::kNone;
    for (unsigned i = 0; i < from.raw.prefix_count; ++i) {
        if (from.raw.prefixes[i].value == 0xf3) repeat = Repeat::kEqual;
        if (from.raw.prefixes[i].value == 0xf2) repeat = Repeat::kNotEqual;
    }
    return repeat;
}

/// The segment of an operand that the encoding implies: DS or the one that a prefix names.
uint8_t implied_segment(const ZydisDecodedInstruction& from, CodeWidth width) {
    if (from.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS) return kFs;
    if (from.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS) return kGs;
    if (width == CodeWidth::k64) return kNoRegister;
    if (from.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_CS) return kCs;
    if (from.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_SS) return kSs;
    if (from.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES) return kEs;
    return kDs;
}

bool is_segment(const Operand& operand) { return operand.kind == OperandKind::kSegment; }

/// The handler of a MOV, by its operands; null for an ordinary one.
Handler mov_handler(const Instruction& instruction) {
    for (const Operand& operand : instruction.operands) {
        if (operand.kind == OperandKind::kSegment) return mov_segment_instruction;
        if (operand.kind == OperandKind::kControl) return mov_control_instruction;
        if (operand.kind == OperandKind::kDebug) return mov_debug_instruction;
    }
    return nullptr;
}

/// Near transfers, of code that isn't translated.
Handler near_handler(ZydisMnemonic mnemonic) {
    if (mnemonic == ZYDIS_MNEMONIC_JMP) return near_jump_instruction;
    return mnemonic == ZYDIS_MNEMONIC_CALL ? near_call_instruction : near_return_instruction;
}

/// Of 64-bit code these are the translator's.
bool only_narrow(Handler handler) {
    return handler == conditional_jump_instruction || handler == loop_instruction;
}

/// Mnemonics that only in some forms are the interpreter's.
Handler choose_handler(const ZydisDecodedInstruction& from, const TableRow& row,
                       const Instruction& instruction) {
    switch (from.mnemonic) {
        case ZYDIS_MNEMONIC_MOV:
            return mov_handler(instruction);
        case ZYDIS_MNEMONIC_MOVSD:
        case ZYDIS_MNEMONIC_CMPSD:
            return from.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ? row.handler : nullptr;
        case ZYDIS_MNEMONIC_JMP:
        case ZYDIS_MNEMONIC_CALL:
        case ZYDIS_MNEMONIC_RET:
            if (from.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) return row.handler;
            return instruction.width == CodeWidth::k64 ? nullptr : near_handler(from.mnemonic);
        case ZYDIS_MNEMONIC_PUSH:
            return is_segment(instruction.operands[0]) ? push_segment_instruction : row.handler;
        case ZYDIS_MNEMONIC_POP:
            return is_segment(instruction.operands[0]) ? pop_segment_instruction : row.handler;
        default:
            return only_narrow(row.handler) && instruction.width == CodeWidth::k64 ? nullptr : row.handler;
    }
}

/// Instructions with a memory operand that isn't written: strings and XLAT, MASKMOVQ and MASKMOVDQU.
bool has_implied_memory(const ZydisDecodedInstruction& from) {
    uint8_t opcode = from.opcode;
    if (from.opcode_map == ZYDIS_OPCODE_MAP_0F) return opcode == 0xf7;
    if (from.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT) return false;
    return (opcode >= 0x6c && opcode <= 0x6f) || (opcode >= 0xa4 && opcode <= 0xaf) || opcode == 0xd7;
}

}  // namespace

bool is_complete(const uint8_t* bytes, size_t size, CodeWidth width) {
    ZydisDecodedInstruction instruction;
    return ZydisDecoderDecodeInstruction(&decoder_for(width), nullptr, bytes, size, &instruction) !=
           ZYDIS_STATUS_NO_MORE_DATA;
}

bool decode(const uint8_t* bytes, size_t size, Instruction& out, CodeWidth width) {
    ZydisDecodedInstruction from;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_for(width), bytes, size, &from, operands)))
        return false;
    const TableRow* row = find_row(from.mnemonic);
    if (!row) return false;
    correct_operands(from, operands);

    out = Instruction{};
    out.length = from.length;
    out.width = width;
    out.operand_size = static_cast<uint8_t>(from.operand_width / 8);
    out.address_size = static_cast<uint8_t>(from.address_width / 8);
    out.repeat = repeat_of(from);
    out.opcode = from.opcode;
    if (from.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) out.vector_size = from.raw.vex.L ? 32 : 16;
    out.opcode_extension = from.raw.modrm.reg;
    for (unsigned i = 0; i < from.operand_count && i < out.operands.size(); ++i)
        if (operands[i].visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN)
            take_operand(operands[i], out.operands[i], out);
    out.immediate = from.raw.imm[0].value.u;
    out.immediate2 = from.raw.imm[1].value.u;
    if (operands[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
        out.immediate = operands[0].ptr.offset;
        out.immediate2 = operands[0].ptr.segment;
    }
    if (has_implied_memory(from)) out.segment = implied_segment(from, width);
    out.handler = choose_handler(from, *row, out);
    out.sequential = row->sequential;
    out.kind = kind_of(from.mnemonic, out);
    return out.handler != nullptr;
}

DecodeCache::DecodeCache() : slots_(std::make_unique<Slot[]>(kSlots)) {}
DecodeCache::~DecodeCache() = default;

const Instruction* DecodeCache::insert(uint64_t rip, const uint8_t* bytes, const Instruction& instruction) {
    Slot& target = slot(rip);
    std::memcpy(target.bytes.data(), bytes, 16);
    std::array<uint8_t, 16> mask{};
    std::fill_n(mask.begin(), instruction.length, uint8_t{0xff});
    std::memcpy(target.mask.data(), mask.data(), 16);
    target.instruction = instruction;
    return &target.instruction;
}

}  // namespace lockstep::cpu
