// XLAT, ENTER, LEAVE, CMPXCHG8B, CMPXCHG16B.
#include <cstring>

#include "cpu/handlers.h"

namespace lockstep::cpu {

Outcome xlat_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    uint64_t at = (state.gpr[kRbx] + (state.gpr[kRax] & 0xff)) & mask_of_size(instruction.address_size);
    if (instruction.segment != kNoRegister) at += state.segments[instruction.segment].base;
    uint8_t value = 0;
    if (!read_virtual(cpu, at, &value, 1, exception)) return Outcome::kFault;
    write_register(state, kRax, 1, value);
    return Outcome::kNext;
}

/// Reads the outer frame pointers first and checks the new top of the stack, so that a fault changes nothing.
Outcome enter_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    unsigned size = instruction.operand_size, level = instruction.immediate2 & 31;
    uint64_t locals = instruction.immediate & 0xffff;
    uint64_t rbp = state.gpr[kRbp], rsp = state.gpr[kRsp];
    uint64_t frame = rsp - size;
    uint8_t image[32 * 8];  // from the lowest address up
    unsigned count = level == 0 ? 1 : level + 1;
    std::memcpy(image + (count - 1) * size, &rbp, size);
    for (unsigned i = 1; i < level; ++i)
        if (!read_stack(cpu, rbp - i * size, image + (count - 1 - i) * size, size, exception))
            return Outcome::kFault;
    if (level > 0) std::memcpy(image, &frame, size);
    uint64_t top = rsp - count * size - locals;
    uint8_t probe = 0;
    if (!read_stack(cpu, top, &probe, 1, exception) || !check_writable(cpu, top, 1, exception) ||
        !write_stack(cpu, rsp - count * size, image, count * size, exception))
        return Outcome::kFault;
    write_register(state, kRbp, size, frame);
    state.gpr[kRsp] = top;
    return Outcome::kNext;
}

Outcome leave_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    unsigned size = instruction.operand_size;
    uint64_t rbp = state.gpr[kRbp], value = 0;
    if (!read_stack(cpu, rbp, &value, size, exception)) return Outcome::kFault;
    write_register(state, kRbp, size, value);
    state.gpr[kRsp] = rbp + size;
    return Outcome::kNext;
}

namespace {

/// RDX:RAX is compared with memory and RCX:RBX stored, in halves of `half` bytes. Memory is always written.
Outcome compare_exchange(Cpu& cpu, const Instruction& instruction, unsigned half, Exception& exception) {
    CpuState& state = cpu.state;
    uint64_t low = 0, high = 0, mask = mask_of_size(half);
    uint8_t image[16];
    uint64_t at = effective_address(cpu, instruction);
    if (half == 8 && at % 16 != 0) return next_if(general_protection(exception));
    if (!check_writable(cpu, at, 2 * half, exception) || !read_virtual(cpu, at, image, 2 * half, exception))
        return Outcome::kFault;
    std::memcpy(&low, image, half);
    std::memcpy(&high, image + half, half);
    bool equal = low == (state.gpr[kRax] & mask) && high == (state.gpr[kRdx] & mask);
    uint64_t new_low = equal ? state.gpr[kRbx] : low, new_high = equal ? state.gpr[kRcx] : high;
    std::memcpy(image, &new_low, half);
    std::memcpy(image + half, &new_high, half);
    if (!write_virtual(cpu, at, image, 2 * half, exception)) return Outcome::kFault;
    if (!equal) {
        write_register(state, kRax, half, low);
        write_register(state, kRdx, half, high);
    }
    state.rflags = (state.rflags & ~kFlagZf) | (equal ? kFlagZf : 0);
    return Outcome::kNext;
}

}  // namespace

Outcome cmpxchg8b_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return compare_exchange(cpu, instruction, 4, exception);
}

Outcome cmpxchg16b_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return compare_exchange(cpu, instruction, 8, exception);
}

}  // namespace lockstep::cpu
