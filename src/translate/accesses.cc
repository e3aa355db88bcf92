// SPDX-License-Identifier: Apache-2.0
#include "translate/accesses.h"

namespace lockstep::translate {

namespace {

uint64_t register_value(const cpu::CpuState& state, ZydisRegister reg) {
    return state.gpr[static_cast<size_t>(ZydisRegisterGetId(reg))];
}

/// The offset in the segment. `more`: what a bit string's register adds.
uint64_t offset_of(const cpu::CpuState& state, const GuestInstruction& instruction,
                   const ZydisDecodedOperand& operand, uint64_t more) {
    const auto& mem = operand.mem;
    uint64_t sum = static_cast<uint64_t>(mem.disp.value) + more;
    if (mem.base == ZYDIS_REGISTER_RIP || mem.base == ZYDIS_REGISTER_EIP) {
        sum += instruction.next_pc();
    } else if (mem.base != ZYDIS_REGISTER_NONE) {
        sum += register_value(state, mem.base);
    }
    if (mem.index != ZYDIS_REGISTER_NONE) sum += register_value(state, mem.index) * mem.scale;
    if (instruction.decoded.address_width == 32) return static_cast<uint32_t>(sum);
    return instruction.decoded.address_width == 16 ? static_cast<uint16_t>(sum) : sum;
}

cpu::Segment segment_of(const EncodedAccess& access) {
    return access.operand ? static_cast<cpu::Segment>(ZydisRegisterGetId(access.operand->mem.segment))
                          : cpu::kSs;
}

/// Blocks add the bases of FS and GS alone; others are zero where blocks are made.
void find_addresses(const cpu::CpuState& state, const GuestInstruction& instruction, MemoryAccess& access) {
    uint64_t base = state.segments[access.segment].base;
    bool in_blocks = access.segment == cpu::kFs || access.segment == cpu::kGs;
    access.reckoned = access.address = access.offset + (in_blocks ? base : 0);
    if (!instruction.is_narrow()) return;
    access.address = static_cast<uint32_t>(access.offset + base);
    access.reckoned = static_cast<uint32_t>(access.reckoned);
}

uint64_t bit_unit_offset(const cpu::CpuState& state, const GuestInstruction& instruction) {
    unsigned width = instruction.operands[0].size;
    uint64_t value = register_value(state, instruction.operands[1].reg.value);
    int64_t offset = width == 64   ? static_cast<int64_t>(value)
                     : width == 32 ? static_cast<int32_t>(value)
                                   : static_cast<int16_t>(value);
    int64_t unit = width == 64 ? offset >> 6 : width == 32 ? offset >> 5 : offset >> 4;
    return static_cast<uint64_t>(unit * (width / 8));
}

/// The explicit operand, if it is memory that is touched.
void add_operand(const GuestInstruction& instruction, Accesses<EncodedAccess>& list) {
    const ZydisDecodedOperand* operand = instruction.memory_operand();
    if (!operand) return;
    ZydisOperandActions actions = operand->actions;
    EncodedAccess access{
        .operand = operand,
        .size = operand->size / 8u,
        .read = (actions & ZYDIS_OPERAND_ACTION_MASK_READ) || (actions & ZYDIS_OPERAND_ACTION_CONDWRITE),
        .write = (actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0};
    if (instruction.kind == Kind::kBitString) {
        access.read = true;
        access.write = instruction.decoded.mnemonic != ZYDIS_MNEMONIC_BT;
    }
    list.add(access);
}

constexpr EncodedAccess kPushed{.base = cpu::kRsp, .displacement = -8, .size = 8, .write = true};
constexpr EncodedAccess kPopped{.base = cpu::kRsp, .size = 8, .read = true};
constexpr EncodedAccess kFrame{.base = cpu::kRbp, .size = 8, .read = true};

}  // namespace

Accesses<EncodedAccess> accesses_of(const GuestInstruction& instruction) {
    Accesses<EncodedAccess> list;
    switch (instruction.kind) {
        case Kind::kNothing:
        case Kind::kLea:
        case Kind::kPrefetch:
        case Kind::kInterpretFpu:
        case Kind::kUndefined:
        case Kind::kTooLong:
            return list;
        case Kind::kInterpret:  // string instructions look their pages up by themselves
            if (instruction.decoded.mnemonic == ZYDIS_MNEMONIC_PUSHFQ) list.add(kPushed);
            return list;
        default:
            add_operand(instruction, list);
            break;
    }
    switch (instruction.kind) {
        case Kind::kPush:
        case Kind::kCall:
        case Kind::kCallIndirect:
            list.add(kPushed);
            break;
        case Kind::kPop:
        case Kind::kReturn:
            list.add(kPopped);
            break;
        case Kind::kLeave:
            list.add(kFrame);
            break;
        default:
            break;
    }
    return list;
}

AccessList accesses_of(const cpu::CpuState& state, const GuestInstruction& instruction) {
    AccessList list;
    for (const EncodedAccess& access : accesses_of(instruction)) {
        uint64_t offset = state.gpr[access.base] + static_cast<uint64_t>(int64_t{access.displacement});
        if (access.operand) {
            bool bit_string = instruction.kind == Kind::kBitString;
            uint64_t more = bit_string ? bit_unit_offset(state, instruction) : 0;
            offset = offset_of(state, instruction, *access.operand, more);
        } else if (instruction.is_narrow()) {
            offset = static_cast<uint32_t>(offset);
        }
        MemoryAccess found{.offset = offset,
                           .segment = segment_of(access),
                           .size = access.size,
                           .read = access.read,
                           .write = access.write,
                           .stack = access.by_stack()};
        find_addresses(state, instruction, found);
        list.add(found);
    }
    return list;
}

bool misaligned_for(const GuestInstruction& instruction, const MemoryAccess& access) {
    return access.address % access.size && instruction.requires_alignment(access.size);
}

}  // namespace lockstep::translate
