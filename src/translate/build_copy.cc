// SPDX-License-Identifier: Apache-2.0
// Instructions that are executed as they are: re-encoded with the host's registers and a memory operand that
// the shadow map gave. Guest registers r10..r15 come from and go back to their slots.
#include <initializer_list>
#include <tuple>

#include "base/check.h"
#include "translate/block_builder.h"

namespace lockstep::translate {

namespace {

bool is_gpr_class(ZydisRegisterClass register_class) {
    return register_class == ZYDIS_REGCLASS_GPR8 || register_class == ZYDIS_REGCLASS_GPR16 ||
           register_class == ZYDIS_REGCLASS_GPR32 || register_class == ZYDIS_REGCLASS_GPR64;
}

bool is_high_byte(ZydisRegister reg) { return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH; }

/// The number of a general register as its encoding field has it: AH..BH are 4..7.
uint8_t gpr_number(ZydisRegister reg) {
    if (ZydisRegisterGetClass(reg) != ZYDIS_REGCLASS_GPR8)
        return static_cast<uint8_t>(ZydisRegisterGetId(reg));
    unsigned position = reg - ZYDIS_REGISTER_AL;
    if (position < 8) return static_cast<uint8_t>(position);
    if (reg <= ZYDIS_REGISTER_DIL) return static_cast<uint8_t>(reg - ZYDIS_REGISTER_SPL + 4);
    return static_cast<uint8_t>(reg - ZYDIS_REGISTER_R8B + 8);
}

bool has_high_byte(const GuestInstruction& instruction) {
    for (unsigned i = 0; i < instruction.decoded.operand_count_visible; ++i) {
        const ZydisDecodedOperand& operand = instruction.operands[i];
        if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
            operand.visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT && is_high_byte(operand.reg.value))
            return true;
    }
    return false;
}

/// Whether VEX.W is the width of a general register, or of memory in its place; 32-bit code doesn't look at it then.
bool is_for_general_registers(const GuestInstruction& instruction) {
    for (unsigned i = 0; i < instruction.decoded.operand_count_visible; ++i) {
        const ZydisDecodedOperand& operand = instruction.operands[i];
        if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
            is_gpr_class(ZydisRegisterGetClass(operand.reg.value)))
            return true;
    }
    switch (instruction.decoded.mnemonic) {
        case ZYDIS_MNEMONIC_VMOVD:
        case ZYDIS_MNEMONIC_VPEXTRD:
        case ZYDIS_MNEMONIC_VPINSRD:
        case ZYDIS_MNEMONIC_VCVTSI2SS:
        case ZYDIS_MNEMONIC_VCVTSI2SD:
            return true;
        default:
            return false;
    }
}

/// Whether the immediate names a register; 32-bit code doesn't look at its top bit.
bool has_register_in_immediate(const GuestInstruction& instruction) {
    for (unsigned i = 0; i < instruction.decoded.operand_count_visible; ++i)
        if (instruction.operands[i].encoding == ZYDIS_OPERAND_ENCODING_IS4) return true;
    return false;
}

/// Instructions that leave their destination as it was where the source is zero; the manual calls it
/// undefined, every CPU does it, and Linux relies on it.
bool keeps_destination(ZydisMnemonic mnemonic) {
    return mnemonic == ZYDIS_MNEMONIC_BSF || mnemonic == ZYDIS_MNEMONIC_BSR;
}

}  // namespace

BlockBuilder::Fields BlockBuilder::find_fields(const GuestInstruction& instruction) const {
    const ZydisDecodedInstruction& decoded = instruction.decoded;
    Fields fields;
    auto& raw = decoded.raw;
    fields.reg.number = static_cast<uint8_t>(raw.modrm.reg | raw.rex.R << 3);
    fields.rm.number = static_cast<uint8_t>(raw.modrm.rm | raw.rex.B << 3);
    bool vex = decoded.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
    for (unsigned i = 0; i < decoded.operand_count; ++i) {
        const ZydisDecodedOperand& operand = instruction.operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
        bool is_gpr = is_gpr_class(ZydisRegisterGetClass(operand.reg.value));
        if (!is_gpr && !vex) continue;
        Field* field = operand.encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG  ? &fields.reg
                       : operand.encoding == ZYDIS_OPERAND_ENCODING_OPCODE   ? &fields.reg
                       : operand.encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM ? &fields.rm
                       : operand.encoding == ZYDIS_OPERAND_ENCODING_NDSNDD   ? &fields.second
                                                                             : nullptr;
        if (!field) continue;
        if (!is_gpr) {
            field->number = static_cast<uint8_t>(ZydisRegisterGetId(operand.reg.value));
            continue;
        }
        field->is_gpr = true;
        field->number = gpr_number(operand.reg.value);
        field->write = operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
        bool partial = operand.size < 32 || (operand.actions & ZYDIS_OPERAND_ACTION_CONDWRITE) ||
                       keeps_destination(decoded.mnemonic);
        field->read = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ) || (field->write && partial);
    }
    for (Field* field : {&fields.reg, &fields.rm, &fields.second}) field->host = field->number;
    return fields;
}

// With a memory operand r13 (and r14) are part of its address. Where one temporary isn't enough, the address
// is folded into r13.
void BlockBuilder::assign_temporaries(Fields& fields, HostMem* target) {
    Field* all[] = {&fields.reg, &fields.rm, &fields.second};
    unsigned wanted = 0;
    for (Field* field : all) wanted += field->spilled();
    if (target && wanted > 1 && target->base == kHostR14) {
        asm_.lea(kHostR13, *target);
        *target = {.base = kHostR13};
        group_in_r13_.reset();
    }
    const HostReg free[] = {kHostR12, kHostR14, kHostR13};
    unsigned next = 0;
    for (Field* field : all) {
        if (!field->spilled()) continue;
        const Field* same = nullptr;
        for (Field* earlier : all) {
            if (earlier == field) break;
            if (earlier->spilled() && earlier->number == field->number) same = earlier;
        }
        field->host = same ? same->host : static_cast<uint8_t>(free[next++]);
        if (field->host == kHostR13) group_in_r13_.reset();
    }
    for (Field* field : all)
        if (field->spilled() && field->read)
            asm_.load(static_cast<HostReg>(field->host), slot(field->number));
}

void BlockBuilder::encode_vex(const GuestInstruction& instruction, const Fields& fields, uint8_t rm,
                              const HostMem* memory) {
    auto& vex = instruction.decoded.raw.vex;
    uint8_t index_bit = memory && memory->index != kNoReg ? memory->index >> 3 & 1 : 0;
    uint8_t base = rm;
    if (memory) base = memory->base;
    uint8_t second = fields.second.host;
    asm_.byte(0xc4);
    asm_.byte(static_cast<uint8_t>((fields.reg.host & 8 ? 0 : 0x80) | (index_bit ? 0 : 0x40) |
                                   (base & 8 ? 0 : 0x20) | vex.m_mmmm));
    bool wide = vex.W && !(instruction.is_narrow() && is_for_general_registers(instruction));
    asm_.byte(static_cast<uint8_t>((wide ? 0x80 : 0) | (~second & 15) << 3 | vex.L << 2 | vex.pp));
    asm_.byte(instruction.decoded.opcode);
}

// In 16-bit code the prefix 66 means what its absence means elsewhere, but where it is a part of the opcode.
void BlockBuilder::encode_prefixes(const GuestInstruction& instruction) {
    const ZydisDecodedInstruction& decoded = instruction.decoded;
    bool by_width = instruction.width == cpu::CodeWidth::k16 && !instruction.uses_fpu();
    bool part_of_opcode = false;
    for (unsigned i = 0; i < decoded.raw.prefix_count; ++i) {
        uint8_t prefix = decoded.raw.prefixes[i].value;
        bool mandatory = decoded.raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY;
        part_of_opcode |= prefix == 0x66 && mandatory;
        if (prefix == 0xf2 || prefix == 0xf3 || (prefix == 0x66 && (!by_width || mandatory)))
            asm_.byte(prefix);
    }
    if (by_width && !part_of_opcode && decoded.operand_width == 16) asm_.byte(0x66);
}

void BlockBuilder::encode(const GuestInstruction& instruction, const Fields& fields, const HostMem* memory) {
    const ZydisDecodedInstruction& decoded = instruction.decoded;
    auto& raw = decoded.raw;
    bool modrm = decoded.attributes & ZYDIS_ATTRIB_HAS_MODRM;
    uint8_t rm = fields.rm.host;
    if (decoded.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
        encode_vex(instruction, fields, rm, memory);
    } else {
        encode_prefixes(instruction);
        bool force = decoded.attributes & ZYDIS_ATTRIB_HAS_REX;
        if (memory) {
            asm_.rex_mem(raw.rex.W, fields.reg.host, *memory, force);
        } else if (modrm) {
            asm_.rex_reg(raw.rex.W, fields.reg.host, rm, force);
        } else {
            asm_.rex_reg(raw.rex.W, 0, fields.reg.host, force);
        }
        switch (decoded.opcode_map) {
            case ZYDIS_OPCODE_MAP_DEFAULT:
                break;
            case ZYDIS_OPCODE_MAP_0F:
                asm_.byte(0x0f);
                break;
            case ZYDIS_OPCODE_MAP_0F38:
                asm_.bytes({0x0f, 0x38});
                break;
            case ZYDIS_OPCODE_MAP_0F3A:
                asm_.bytes({0x0f, 0x3a});
                break;
            default:
                CHECK(false, "opcode map {} at {:#x}", static_cast<int>(decoded.opcode_map), instruction.pc);
        }
        bool in_opcode = !modrm && fields.reg.is_gpr;
        bool increments = instruction.is_narrow() && decoded.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
                          (decoded.opcode & 0xf0) == 0x40;
        if (increments) {  // INC and DEC of one byte, which are prefixes in 64-bit code
            asm_.byte(0xff);
            return asm_.modrm_reg(static_cast<uint8_t>(decoded.opcode >> 3 & 1), fields.reg.host);
        }
        bool alias = instruction.is_narrow() && decoded.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
                     decoded.opcode == 0x82;  // of 80
        if (alias)
            asm_.byte(0x80);
        else
            asm_.byte(in_opcode ? static_cast<uint8_t>((decoded.opcode & 0xf8) | (fields.reg.host & 7))
                                : decoded.opcode);
    }
    if (memory) {
        asm_.modrm_mem(fields.reg.host, *memory);
    } else if (modrm) {
        asm_.modrm_reg(fields.reg.host, rm);
    }
    if (!raw.imm[0].size) return;
    const uint8_t* immediate = instruction.bytes + raw.imm[0].offset;
    if (instruction.is_narrow() && has_register_in_immediate(instruction))
        return asm_.byte(*immediate & 0x7f);
    asm_.bytes({immediate, static_cast<size_t>(decoded.length - raw.imm[0].offset)});
}

// Before the instruction: said too early it is no harm, and nothing leaves the block in between with it unsaid.
void BlockBuilder::note_upper_halves(const GuestInstruction& instruction) {
    if (upper_halves_noted_ || !instruction.fills_upper_halves()) return;
    asm_.store8_imm(state_field(offsetof(cpu::CpuState, upper_halves_used)), 1);
    upper_halves_noted_ = true;
}

void BlockBuilder::emit_copy(const GuestInstruction& instruction) {
    note_upper_halves(instruction);
    const ZydisDecodedOperand* operand = instruction.memory_operand();
    Fields fields = find_fields(instruction);
    if (!operand) {
        if (instruction.touches_flags) need_flags();
        note_operation();
        assign_temporaries(fields, nullptr);
        encode(instruction, fields, nullptr);
    } else {
        if (source_.mode.window && instruction.touches_flags) need_flags();  // the look may fault, too
        Address address = emit_address(*operand, true, next_plan().sharing);
        bool write = operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
        emit_lookup(address, operand->size / 8, write, instruction.is_aligned_move());
        // Where it overwrites them all they stay in the slot, for the case that it faults after all: at an address
        // that isn't canonical.
        bool overwrites =
            options_.dead_flags && !instruction.flags_read && instruction.flags_written == kAllFlags;
        if (instruction.touches_flags && !overwrites) need_flags();
        note_operation();
        HostMem target = found(address);
        // Stores that change more than memory where the page is missing. Some CPUs have made the x87
        // registers MMX ones by then, or put the flags of a conversion into MXCSR; others hold an x87 exception
        // back and never reach for the page.
        if (source_.mode.window && write && instruction.stores_more_than_memory())
            emit_touch_for_write(target, operand->size / 8);
        if (has_high_byte(instruction)) {
            emit_copy_high_byte(instruction, fields, target);
        } else {
            assign_temporaries(fields, &target);
            encode(instruction, fields, &target);
        }
        if (overwrites) flags_in_slot_ = false;
    }
    for (Field* field : {&fields.second, &fields.reg, &fields.rm})
        if (field->spilled() && field->write)
            asm_.store(slot(field->number), static_cast<HostReg>(field->host));
    if (instruction.clears_upper_halves()) {
        asm_.store8_imm(state_field(offsetof(cpu::CpuState, upper_halves_used)), 0);
        upper_halves_noted_ = false;
    }
    note_stack_pointer(instruction);
}

// Writes the first byte and the last as they are: the faults of a store, without the store.
void BlockBuilder::emit_touch_for_write(const HostMem& target, unsigned size) {
    for (unsigned offset : {0U, size - 1}) {
        HostMem byte = target;
        byte.disp += static_cast<int32_t>(offset);
        emit_sized(0x8a, 8, kHostR12, byte);
        emit_sized(0x88, 8, kHostR12, byte);
    }
}

// AH..BH exclude a REX prefix, so the address has to be in a low register: RSI, which no such instruction
// uses. The page is touched first, as the instruction does: a host fault finds RSI still in place.
void BlockBuilder::emit_copy_high_byte(const GuestInstruction& instruction, const Fields& fields,
                                       const HostMem& target) {
    group_in_r13_.reset();
    asm_.lea(kHostR13, target);
    bool write = instruction.memory_operand()->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    emit_sized(0x8a, 8, kHostR12, {.base = kHostR13});
    if (source_.mode.window && write) emit_sized(0x88, 8, kHostR12, {.base = kHostR13});
    asm_.mov(kHostR12, kHostRsi);
    asm_.mov(kHostRsi, kHostR13);
    HostMem low{.base = kHostRsi};
    encode(instruction, fields, &low);
    asm_.mov(kHostRsi, kHostR12);
}

void BlockBuilder::emit_lea(const GuestInstruction& instruction) {
    Fields fields = find_fields(instruction);
    HostReg to = fields.reg.spilled() ? kHostR12 : static_cast<HostReg>(fields.reg.number);
    unsigned width = instruction.decoded.operand_width;
    const auto& mem = instruction.operands[1].mem;
    bool in_place = mem.base != ZYDIS_REGISTER_RIP && mem.base != ZYDIS_REGISTER_NONE && width >= 32 &&
                    instruction.decoded.address_width == 64 && ZydisRegisterGetId(mem.base) < cpu::kR10 &&
                    (mem.index == ZYDIS_REGISTER_NONE || ZydisRegisterGetId(mem.index) < cpu::kR10);
    if (in_place) {
        HostMem sum{.base = static_cast<HostReg>(ZydisRegisterGetId(mem.base)),
                    .disp = static_cast<int32_t>(mem.disp.value)};
        if (mem.index != ZYDIS_REGISTER_NONE) {
            sum.index = static_cast<HostReg>(ZydisRegisterGetId(mem.index));
            sum.scale = mem.scale;
        }
        if (width == 64) asm_.lea(to, sum);
        if (width == 32) asm_.lea32(to, sum);
    } else {
        Address address = emit_address(instruction.operands[1], true);
        if (width == 16 && fields.reg.spilled()) asm_.load(to, slot(fields.reg.number));
        if (width == 64) asm_.mov(to, address.base);
        if (width == 32) asm_.mov32(to, address.base);
        if (width == 16) asm_.mov16(to, address.base);
    }
    if (fields.reg.spilled()) asm_.store(slot(fields.reg.number), to);
    note_stack_pointer(instruction);
}

// A hint, which never faults: what isn't in the map may be prefetched from anywhere. The look-up changes
// flags, and isn't worth saving them; nor is there anything to be won where a block runs once.
void BlockBuilder::emit_prefetch(const GuestInstruction& instruction) {
    bool look_up = !source_.mode.window;
    if (source_.transient || (look_up && !flags_dead_ && !flags_in_slot_)) return;
    Address address =
        emit_address(*instruction.memory_operand(), true, look_up ? Sharing::kNone : Sharing::kIndexed);
    if (look_up) {
        group_in_r13_.reset();
        asm_.bextr(kHostR13, address.base, kHostR10);
        load_map_entry(kHostR13, false);
    }
    HostMem place = found(address);
    encode(instruction, find_fields(instruction), &place);
}

/// An instruction `opcode` of the usual kind (8-bit form even, others odd) with a register and memory.
void BlockBuilder::emit_sized(uint8_t opcode, unsigned width, HostReg reg, const HostMem& memory) {
    if (width == 16) asm_.byte(0x66);
    asm_.rex_mem(width == 64, reg, memory);
    asm_.byte(width == 8 ? opcode : static_cast<uint8_t>(opcode | 1));
    asm_.modrm_mem(reg, memory);
}

void BlockBuilder::emit_move_offset(const GuestInstruction& instruction) {
    bool write = instruction.operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
    const ZydisDecodedOperand& operand = instruction.operands[write ? 0 : 1];
    Address address = emit_address(operand, false);
    // emit_address() cuts displacements to what LEA takes; this form has 64 bits.
    emit_lookup(address, operand.size / 8, write);
    emit_sized(write ? 0x88 : 0x8a, operand.size, kHostRax, found(address));
}

// The register offset may reach any distance from the operand: the address is that of the unit which holds
// the bit, and the register form of the instruction takes the offset modulo the width.
void BlockBuilder::emit_bit_string(const GuestInstruction& instruction) {
    const ZydisDecodedOperand& operand = instruction.operands[0];
    Fields fields = find_fields(instruction);
    unsigned width = operand.size;
    bool write = instruction.decoded.mnemonic != ZYDIS_MNEMONIC_BT;

    ZydisDecodedOperand without_segment = operand;
    without_segment.mem.segment = ZYDIS_REGISTER_DS;
    emit_address(without_segment, false);
    load_guest(kHostR13, fields.reg.number);
    if (width == 32) asm_.movsxd(kHostR13, kHostR13);
    if (width == 16) asm_.movsx16(kHostR13, kHostR13);
    asm_.mov_imm(kHostR12, width == 64 ? 6 : width == 32 ? 5 : 4);
    asm_.sarx(kHostR13, kHostR13, kHostR12);
    HostMem unit_address{.base = kHostR14, .index = kHostR13, .scale = static_cast<uint8_t>(width / 8)};
    unsigned address_width = instruction.decoded.address_width;
    bool narrow = address_width < 64;  // the sum is cut, and the segment's base comes last
    if (narrow) asm_.lea32(kHostR14, unit_address);
    if (!narrow) asm_.lea(kHostR14, unit_address);
    if (address_width == 16) asm_.movzx16(kHostR14, kHostR14);
    ZydisRegister segment = operand.mem.segment;
    if (segment == ZYDIS_REGISTER_FS || segment == ZYDIS_REGISTER_GS) add_segment_base(segment);
    Address address{.stack_segment = segment == ZYDIS_REGISTER_SS};
    if (source_.mode.window) need_flags();  // the look may fault, too
    emit_lookup(address, width / 8, write);
    need_flags();
    note_operation();

    asm_.lea(kHostR14, found(address));
    HostMem unit{.base = kHostR14};
    emit_sized(0x8a, width, kHostR12, unit);
    // A page that may not be written to is found out before the flags change.
    if (source_.mode.window && write) emit_sized(0x88, width, kHostR12, unit);
    HostReg offset = static_cast<HostReg>(fields.reg.number);
    if (fields.reg.spilled()) {
        offset = kHostR13;
        load_guest(offset, fields.reg.number);
    }
    if (width == 16) asm_.byte(0x66);
    asm_.rex_reg(width == 64, offset, kHostR12);
    asm_.bytes({0x0f, instruction.decoded.opcode});
    asm_.modrm_reg(offset, kHostR12);
    if (write) emit_sized(0x88, width, kHostR12, unit);
}

// Keeps track of whether RSP is a multiple of 8 across an instruction that is copied. Only AND proves it: a
// misaligned access that doesn't cross pages comes back from its test as well.
void BlockBuilder::note_stack_pointer(const GuestInstruction& instruction) {
    const ZydisDecodedInstruction& decoded = instruction.decoded;
    for (unsigned i = 0; i < decoded.operand_count; ++i) {
        const ZydisDecodedOperand& operand = instruction.operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER ||
            !(operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
            continue;
        if (ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operand.reg.value) !=
            ZYDIS_REGISTER_RSP)
            continue;
        bool immediate =
            instruction.operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && decoded.operand_width == 64;
        bool multiple = immediate && instruction.operands[1].imm.value.u % 8 == 0;
        bool keeps =
            multiple && (decoded.mnemonic == ZYDIS_MNEMONIC_ADD || decoded.mnemonic == ZYDIS_MNEMONIC_SUB);
        bool aligns = multiple && decoded.mnemonic == ZYDIS_MNEMONIC_AND;
        stack_aligned_ = aligns || (stack_aligned_ && keeps);
        return;
    }
}

}  // namespace lockstep::translate
