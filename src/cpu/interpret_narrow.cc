// SPDX-License-Identifier: Apache-2.0
// What only 16- and 32-bit code has: near transfers by segment (64-bit code's are the translator's), PUSHA, BOUND, ARPL,
// INTO, decimal arithmetic. Flags that the manual leaves undefined are as Intel's CPUs have them.
#include "cpu/exceptions.h"
#include "cpu/handlers.h"

namespace lockstep::cpu {

namespace {

/// Goes to an offset in the code segment, cut to the operand's size.
bool go_to(Cpu& cpu, const Instruction& instruction, uint64_t target, Exception& exception) {
    target &= mask_of_size(instruction.operand_size);
    if (target > cpu.state.segments[kCs].limit) return general_protection(exception);
    cpu.state.rip = target;
    return true;
}

uint64_t relative_target(const Cpu& cpu, const Instruction& instruction) {
    return cpu.state.rip_behind(instruction.length) + instruction.immediate;
}

/// Where JMP or CALL leads.
bool read_target(Cpu& cpu, const Instruction& instruction, uint64_t& target, Exception& exception) {
    if (!read_operand(cpu, instruction, 0, target, exception)) return false;
    if (instruction.operands[0].kind == OperandKind::kImmediate) target = relative_target(cpu, instruction);
    return true;
}

/// The condition in the low four bits of an opcode.
bool condition_holds(uint64_t flags, unsigned code) {
    bool carry = flags & kFlagCf, zero = flags & kFlagZf, sign = flags & kFlagSf, overflow = flags & kFlagOf;
    bool holds = false;
    switch (code >> 1 & 7) {
        case 0:
            holds = overflow;
            break;
        case 1:
            holds = carry;
            break;
        case 2:
            holds = zero;
            break;
        case 3:
            holds = carry || zero;
            break;
        case 4:
            holds = sign;
            break;
        case 5:
            holds = flags & kFlagPf;
            break;
        case 6:
            holds = sign != overflow;
            break;
        default:
            holds = zero || sign != overflow;
            break;
    }
    return holds != static_cast<bool>(code & 1);
}

Outcome jump_if(Cpu& cpu, const Instruction& instruction, bool taken, Exception& exception) {
    if (!taken) return Outcome::kNext;
    return jumped_if(go_to(cpu, instruction, relative_target(cpu, instruction), exception));
}

uint8_t low8(const CpuState& state) { return static_cast<uint8_t>(state.gpr[kRax]); }
uint8_t high8(const CpuState& state) { return static_cast<uint8_t>(state.gpr[kRax] >> 8); }
void set_ax(CpuState& state, unsigned high, unsigned low) {
    write_register(state, kRax, 2, (high & 0xff) << 8 | (low & 0xff));
}

/// SF, ZF and PF of AL; the others of the six as given.
void set_flags(CpuState& state, uint64_t others) {
    uint8_t value = low8(state);
    uint64_t flags = others;
    if (value == 0) flags |= kFlagZf;
    if (value & 0x80) flags |= kFlagSf;
    if (__builtin_parity(value) == 0) flags |= kFlagPf;
    state.rflags = (state.rflags & ~kArithmeticFlags) | flags;
}

enum class Decimal : uint8_t { kAdd, kSubtract };

Outcome adjust_ascii(CpuState& state, Decimal which) {
    bool adjusts = (low8(state) & 15) > 9 || (state.rflags & kFlagAf);
    unsigned ax = state.gpr[kRax] & 0xffff;
    if (adjusts) ax = which == Decimal::kAdd ? ax + 0x106 : ax - 0x106;
    set_ax(state, ax >> 8, ax & 15);
    set_flags(state, adjusts ? kFlagAf | kFlagCf : 0);
    return Outcome::kNext;
}

Outcome adjust_decimal(CpuState& state, Decimal which) {
    unsigned old = low8(state), value = old;
    bool carry = state.rflags & kFlagCf, half = (old & 15) > 9 || (state.rflags & kFlagAf);
    bool high = old > 0x99 || carry, carries = high;
    auto adjust = [&](unsigned by) { value = which == Decimal::kAdd ? value + by : value - by; };
    if (half) {
        carries = carries || (which == Decimal::kSubtract && old < 6);
        adjust(6);
    }
    if (high) adjust(0x60);
    write_register(state, kRax, 1, value);
    set_flags(state, (half ? kFlagAf : 0) | (carries ? kFlagCf : 0));
    return Outcome::kNext;
}

}  // namespace

Outcome near_jump_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    uint64_t target = 0;
    return jumped_if(read_target(cpu, instruction, target, exception) &&
                     go_to(cpu, instruction, target, exception));
}

Outcome near_call_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    unsigned size = instruction.operand_size;
    uint64_t target = 0, back = state.rip_behind(instruction.length), rsp = state.gpr[kRsp] - size;
    if (!read_target(cpu, instruction, target, exception)) return Outcome::kFault;
    if ((target & mask_of_size(size)) > state.segments[kCs].limit)
        return next_if(general_protection(exception));
    if (!write_stack(cpu, rsp, &back, size, exception)) return Outcome::kFault;
    set_stack_pointer(state, rsp);
    return jumped_if(go_to(cpu, instruction, target, exception));
}

Outcome near_return_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    unsigned size = instruction.operand_size;
    uint64_t extra = instruction.opcode == 0xc2 ? instruction.immediate & 0xffff : 0, target = 0;
    if (!read_stack(cpu, state.gpr[kRsp], &target, size, exception) ||
        !go_to(cpu, instruction, target, exception))
        return Outcome::kFault;
    set_stack_pointer(state, state.gpr[kRsp] + size + extra);
    return Outcome::kJumped;
}

Outcome conditional_jump_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return jump_if(cpu, instruction, condition_holds(cpu.state.rflags, instruction.opcode), exception);
}

/// LOOPNE, LOOPE, LOOP and JCXZ are opcodes E0 to E3. Which of the first two it is a prefix F2 or F3 says, if there is one.
Outcome loop_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    unsigned size = instruction.address_size;
    uint64_t count = state.gpr[kRcx] & mask_of_size(size);
    if (instruction.opcode == 0xe3) return jump_if(cpu, instruction, count == 0, exception);
    count = (count - 1) & mask_of_size(size);
    bool zero = state.rflags & kFlagZf;
    bool while_equal = instruction.repeat == Repeat::kNone ? instruction.opcode == 0xe1
                                                           : instruction.repeat == Repeat::kEqual;
    bool by_flag = instruction.opcode == 0xe2 || zero == while_equal;
    Outcome outcome = jump_if(cpu, instruction, count != 0 && by_flag, exception);
    if (outcome != Outcome::kFault) write_register(state, kRcx, size, count);
    return outcome;
}

Outcome push_all_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    unsigned size = instruction.operand_size;
    uint64_t rsp = state.gpr[kRsp] - 8 * size;
    for (unsigned i = 8; i > 0; --i)
        if (!check_stack_writable(cpu, rsp + (i - 1) * size, size, exception)) return Outcome::kFault;
    for (unsigned i = 0; i < 8; ++i)
        if (!write_stack(cpu, rsp + (7 - i) * size, &state.gpr[i], size, exception)) return Outcome::kFault;
    set_stack_pointer(state, rsp);
    return Outcome::kNext;
}

Outcome pop_all_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    unsigned size = instruction.operand_size;
    uint64_t values[8] = {};
    for (unsigned i = 0; i < 8; ++i)
        if (!read_stack(cpu, state.gpr[kRsp] + i * size, &values[7 - i], size, exception))
            return Outcome::kFault;
    for (unsigned i = 0; i < 8; ++i)
        if (i != kRsp) write_register(state, i, size, values[i]);
    set_stack_pointer(state, state.gpr[kRsp] + 8 * size);
    return Outcome::kNext;
}

Outcome bound_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    unsigned size = instruction.operand_size;
    uint64_t bounds[2] = {};
    for (unsigned i = 0; i < 2; ++i) {
        uint64_t at = (operand_offset(cpu, instruction) + i * size) & mask_of_size(instruction.address_size);
        if (!linear_address(cpu, instruction.segment, at, size, Access::kRead, at, exception) ||
            !read_virtual(cpu, at, &bounds[i], size, exception))
            return Outcome::kFault;
    }
    auto extend = [size](uint64_t value) {
        return size == 2 ? int32_t{static_cast<int16_t>(value)} : static_cast<int32_t>(value);
    };
    int32_t index = extend(cpu.state.gpr[instruction.operands[0].number]);
    bool inside = index >= extend(bounds[0]) && index <= extend(bounds[1]);
    return next_if(inside || raise(exception, kBr));
}

Outcome arpl_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    if (!cpu.state.protected_mode()) return next_if(raise(exception, kUd));
    uint64_t to = 0, from = 0;
    if (!read_operand(cpu, instruction, 0, to, exception) ||
        !read_operand(cpu, instruction, 1, from, exception))
        return Outcome::kFault;
    bool raises = (to & 3) < (from & 3);
    if (raises && !write_operand(cpu, instruction, 0, (to & ~uint64_t{3}) | (from & 3), 2, exception))
        return Outcome::kFault;
    cpu.state.rflags = (cpu.state.rflags & ~kFlagZf) | (raises ? kFlagZf : 0);
    return Outcome::kNext;
}

/// AL is all ones where CF is set, else zero.
Outcome salc_instruction(Cpu& cpu, const Instruction&, Exception&) {
    write_register(cpu.state, kRax, 1, cpu.state.rflags & kFlagCf ? 0xff : 0);
    return Outcome::kNext;
}

Outcome into_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    if (!(state.rflags & kFlagOf)) return Outcome::kNext;
    Event event{kOf, EventSource::kSoftware, false, 0, state.rip_behind(instruction.length), state.rflags};
    return jumped_if(enter_handler(cpu, event, exception));
}

Outcome aaa_instruction(Cpu& cpu, const Instruction&, Exception&) {
    return adjust_ascii(cpu.state, Decimal::kAdd);
}
Outcome aas_instruction(Cpu& cpu, const Instruction&, Exception&) {
    return adjust_ascii(cpu.state, Decimal::kSubtract);
}
Outcome daa_instruction(Cpu& cpu, const Instruction&, Exception&) {
    return adjust_decimal(cpu.state, Decimal::kAdd);
}
Outcome das_instruction(Cpu& cpu, const Instruction&, Exception&) {
    return adjust_decimal(cpu.state, Decimal::kSubtract);
}

Outcome aam_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    unsigned base = instruction.immediate & 0xff, value = low8(cpu.state);
    if (base == 0) return next_if(raise(exception, kDe));
    set_ax(cpu.state, value / base, value % base);
    set_flags(cpu.state, 0);
    return Outcome::kNext;
}

Outcome aad_instruction(Cpu& cpu, const Instruction& instruction, Exception&) {
    unsigned base = instruction.immediate & 0xff;
    set_ax(cpu.state, 0, high8(cpu.state) * base + low8(cpu.state));
    set_flags(cpu.state, 0);
    return Outcome::kNext;
}

}  // namespace lockstep::cpu
