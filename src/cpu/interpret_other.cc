// SPDX-License-Identifier: Apache-2.0
// PUSH, POP, XLAT, ENTER, LEAVE, CMPXCHG8B, CMPXCHG16B.
#include <cstring>

#include "cpu/handlers.h"

namespace lockstep::cpu {

Outcome push_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    unsigned size = instruction.operand_size;
    uint64_t value = 0, rsp = cpu.state.gpr[kRsp] - size;
    if (!read_operand(cpu, instruction, 0, value, exception) ||
        !write_stack(cpu, rsp, &value, size, exception))
        return Outcome::kFault;
    set_stack_pointer(cpu.state, rsp);
    return Outcome::kNext;
}

/// The address of an operand in memory is computed with RSP after the increment; POP SP keeps what it has
/// read.
Outcome pop_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    unsigned size = instruction.operand_size;
    uint64_t value = 0, rsp = state.gpr[kRsp];
    if (!read_stack(cpu, rsp, &value, size, exception)) return Outcome::kFault;
    set_stack_pointer(state, rsp + size);
    if (write_operand(cpu, instruction, 0, value, size, exception)) return Outcome::kNext;
    state.gpr[kRsp] = rsp;
    return Outcome::kFault;
}

Outcome xlat_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    uint64_t at = (state.gpr[kRbx] + (state.gpr[kRax] & 0xff)) & mask_of_size(instruction.address_size);
    uint8_t value = 0;
    if (!linear_address(cpu, instruction.segment, at, 1, Access::kRead, at, exception) ||
        !read_virtual(cpu, at, &value, 1, exception))
        return Outcome::kFault;
    write_register(state, kRax, 1, value);
    return Outcome::kNext;
}

namespace {

/// The stack frame that ENTER makes: RBP, the outer frame pointers copied from [RBP - size] downwards, and
/// the address of the frame itself. Pushes go from RSP downwards.
struct NewFrame {
    unsigned size;   ///< of a push
    unsigned level;  ///< nesting level
    uint64_t rbp, rsp;

    uint64_t address() const { return slot(0); }
    unsigned pushes() const { return level == 0 ? 1 : level + 1; }
    uint64_t slot(unsigned push) const { return rsp - (push + 1) * size; }
    uint64_t outer(unsigned push) const { return rbp - push * size; }
};

/// All the faults that ENTER may raise, in the order of its accesses.
bool check_frame(Cpu& cpu, const NewFrame& frame, uint64_t top, Exception& exception) {
    uint64_t unused = 0;
    for (unsigned push = 0; push < frame.pushes(); ++push) {
        bool copies = push > 0 && push < frame.level;
        if (copies && !read_stack(cpu, frame.outer(push), &unused, frame.size, exception)) return false;
        if (!check_stack_writable(cpu, frame.slot(push), frame.size, exception)) return false;
    }
    return check_stack_writable(cpu, top, frame.size, exception);
}

/// One push after the other: an outer pointer may lie in the frame itself.
bool write_frame(Cpu& cpu, const NewFrame& frame, Exception& exception) {
    for (unsigned push = 0; push < frame.pushes(); ++push) {
        uint64_t value = push == 0 ? frame.rbp : frame.address();
        bool copies = push > 0 && push < frame.level;
        if (copies && !read_stack(cpu, frame.outer(push), &value, frame.size, exception)) return false;
        if (!write_stack(cpu, frame.slot(push), &value, frame.size, exception)) return false;
    }
    return true;
}

}  // namespace

/// A fault changes nothing: neither the registers nor the stack.
Outcome enter_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    NewFrame frame{instruction.operand_size, static_cast<unsigned>(instruction.immediate2 & 31),
                   state.gpr[kRbp], state.gpr[kRsp]};
    uint64_t locals = instruction.immediate & 0xffff;
    uint64_t top = frame.slot(frame.pushes() - 1) - locals;
    if (!check_frame(cpu, frame, top, exception) || !write_frame(cpu, frame, exception))
        return Outcome::kFault;
    write_register(state, kRbp, frame.size, frame.address() & stack_mask(state));
    set_stack_pointer(state, top);
    return Outcome::kNext;
}

Outcome leave_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    unsigned size = instruction.operand_size;
    uint64_t rbp = state.gpr[kRbp], value = 0;
    if (!read_stack(cpu, rbp, &value, size, exception)) return Outcome::kFault;
    write_register(state, kRbp, size, value);
    set_stack_pointer(state, rbp + size);
    return Outcome::kNext;
}

namespace {

/// RDX:RAX is compared with memory and RCX:RBX stored, in halves of `half` bytes. Memory is always written.
Outcome compare_exchange(Cpu& cpu, const Instruction& instruction, unsigned half, Exception& exception) {
    CpuState& state = cpu.state;
    uint64_t low = 0, high = 0, mask = mask_of_size(half);
    uint8_t image[16];
    uint64_t at = 0;
    if (!operand_address(cpu, instruction, 2 * half, Access::kWrite, at, exception)) return Outcome::kFault;
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
