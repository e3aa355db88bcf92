// SPDX-License-Identifier: Apache-2.0
// CLI, STI, CLD, STD, PUSHF, POPF.
#include "cpu/handlers.h"

namespace lockstep::cpu {

namespace {

unsigned iopl(const CpuState& state) { return state.rflags >> 12 & 3; }

bool may_change_if(const Cpu& cpu, Exception& exception) {
    return cpu.state.cpl() <= iopl(cpu.state) || general_protection(exception);
}

}  // namespace

Outcome cli_instruction(Cpu& cpu, const Instruction&, Exception& exception) {
    if (!may_change_if(cpu, exception)) return Outcome::kFault;
    cpu.state.rflags &= ~kFlagIf;
    return Outcome::kNext;
}

Outcome sti_instruction(Cpu& cpu, const Instruction&, Exception& exception) {
    if (!may_change_if(cpu, exception)) return Outcome::kFault;
    if (!(cpu.state.rflags & kFlagIf)) cpu.state.interrupt_shadow = kShadowOfSti;
    cpu.state.rflags |= kFlagIf;
    return Outcome::kNext;
}

Outcome cld_instruction(Cpu& cpu, const Instruction&, Exception&) {
    cpu.state.rflags &= ~kFlagDf;
    return Outcome::kNext;
}

Outcome std_instruction(Cpu& cpu, const Instruction&, Exception&) {
    cpu.state.rflags |= kFlagDf;
    return Outcome::kNext;
}

Outcome pushf_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    unsigned size = instruction.operand_size;
    uint64_t image = cpu.state.rflags & ~(kFlagRf | kFlagVm);
    uint64_t rsp = cpu.state.gpr[kRsp] - size;
    if (!write_stack(cpu, rsp, &image, size, exception)) return Outcome::kFault;
    set_stack_pointer(cpu.state, rsp);
    return Outcome::kNext;
}

Outcome popf_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    unsigned size = instruction.operand_size;
    uint64_t image = 0;
    if (!read_stack(cpu, state.gpr[kRsp], &image, size, exception)) return Outcome::kFault;
    uint64_t changeable = kArithmeticFlags | kFlagTf | kFlagDf | kFlagNt | kFlagAc | kFlagId;
    if (state.cpl() == 0) changeable |= kFlagIopl;
    if (state.cpl() <= iopl(state)) changeable |= kFlagIf;
    if (size == 2) changeable &= 0xffff;
    state.rflags = ((state.rflags & ~changeable) | (image & changeable)) & ~kFlagRf;
    set_stack_pointer(state, state.gpr[kRsp] + size);
    return Outcome::kNext;
}

}  // namespace lockstep::cpu
