// SPDX-License-Identifier: Apache-2.0
// Transfers of control that change segments or privilege: SYSCALL and its relatives, IRET, far JMP, CALL and
// RET, software interrupts.
#include <cstring>

#include "cpu/exceptions.h"
#include "cpu/handlers.h"
#include "cpu/segments.h"
#include "x86/control.h"
#include "x86/paging.h"

namespace lockstep::cpu {

using namespace x86;

namespace {

bool check_rip(const Cpu& cpu, const CodeTarget& target, uint64_t rip, Exception& exception) {
    bool to64 = cpu.state.long_mode() && (target.segment.attributes & kAttributeLong);
    bool ok = to64 ? is_canonical(rip) : rip <= target.segment.limit;
    return ok || general_protection(exception);
}

uint16_t low16(uint64_t value) { return static_cast<uint16_t>(value); }

/// CS, rip and SS of a fast transfer in either direction.
void load_flat(CpuState& state, uint64_t code, uint16_t code_attributes, uint64_t rip, uint64_t stack,
               unsigned cpl) {
    enter_code(state, flat_segment(low16((code & 0xfffc) | cpl), code_attributes, cpl), rip);
    state.segments[kSs] = flat_segment(low16((stack & 0xfffc) | cpl), kFlatData, cpl);
}

bool software_interrupt(Cpu& cpu, const Instruction& instruction, uint8_t vector, EventSource source,
                        Exception& exception) {
    Event event{vector, source, false, 0, cpu.state.rip_behind(instruction.length), cpu.state.rflags};
    return enter_handler(cpu, event, exception);
}

/// The RFLAGS that IRET takes from the stack. RF is of use to instruction breakpoints alone.
uint64_t iret_flags(const Cpu& cpu, uint64_t image, unsigned size) {
    const CpuState& state = cpu.state;
    uint64_t changeable = kArithmeticFlags | kFlagTf | kFlagDf | kFlagNt | kFlagAc | kFlagId;
    if (state.cpl() == 0) changeable |= kFlagIopl;
    if (state.cpl() <= (state.rflags >> 12 & 3)) changeable |= kFlagIf;
    if (cpu.breakpoints.any_code()) changeable |= kFlagRf;
    if (size == 2) changeable &= 0xffff;
    return (state.rflags & ~(changeable | kFlagRf)) | (image & changeable);
}

/// Reads `kCount` numbers of the operand's size from the stack.
template <size_t kCount>
bool read_stack_numbers(Cpu& cpu, unsigned size, uint64_t at, uint64_t* out, Exception& exception) {
    if (size == 8) {
        constexpr unsigned kSize = kCount * sizeof *out;
        const uint8_t* host = host_range<Access::kRead>(cpu, current_privilege(cpu), at, kSize);
        if (!host) return read_stack(cpu, at, out, kSize, exception);
        std::memcpy(out, host, kSize);
        return true;
    }
    for (unsigned i = 0; i < kCount; ++i) {
        out[i] = 0;
        if (!read_stack(cpu, at + i * size, &out[i], size, exception)) return false;
    }
    return true;
}

}  // namespace

Outcome syscall_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    // This processor is one of Intel's: of narrower code the system call is SYSENTER.
    if (!(state.efer & kEferSce) || !state.code64()) return jumped_if(raise(exception, kUd));
    state.gpr[kRcx] = state.rip + instruction.length;
    state.gpr[kR11] = state.rflags & ~kFlagRf;
    state.rflags = (state.rflags & ~(state.sfmask | kFlagRf)) | 2;
    load_flat(state, state.star >> 32, kFlatCode64, state.lstar, (state.star >> 32) + 8, 0);
    return Outcome::kJumped;
}

Outcome sysret_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    if (!(state.efer & kEferSce) || !state.code64()) return jumped_if(raise(exception, kUd));
    if (!require_supervisor(cpu, exception)) return Outcome::kFault;
    bool to64 = instruction.operand_size == 8;
    if (to64 && !is_canonical(state.gpr[kRcx])) return jumped_if(general_protection(exception));
    uint64_t base = state.star >> 48;
    uint64_t rip = to64 ? state.gpr[kRcx] : static_cast<uint32_t>(state.gpr[kRcx]);
    state.rflags = (state.gpr[kR11] & kSysretFlags) | 2;
    load_flat(state, to64 ? base + 16 : base, to64 ? kFlatCode64 : kFlatCode32, rip, base + 8, 3);
    return Outcome::kJumped;
}

Outcome sysenter_instruction(Cpu& cpu, const Instruction&, Exception& exception) {
    CpuState& state = cpu.state;
    if (!state.protected_mode() || is_null_selector(low16(state.sysenter_cs)))
        return jumped_if(general_protection(exception));
    bool to64 = state.long_mode();
    uint64_t mask = to64 ? ~uint64_t{0} : 0xffffffff;
    state.gpr[kRsp] = state.sysenter_esp & mask;
    state.rflags &= ~(kFlagVm | kFlagIf | kFlagRf);
    load_flat(state, state.sysenter_cs, to64 ? kFlatCode64 : kFlatCode32, state.sysenter_eip & mask,
              state.sysenter_cs + 8, 0);
    return Outcome::kJumped;
}

Outcome sysexit_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    if (!require_supervisor(cpu, exception)) return Outcome::kFault;
    if (is_null_selector(low16(state.sysenter_cs))) return jumped_if(general_protection(exception));
    bool to64 = instruction.operand_size == 8;
    uint64_t rip = state.gpr[kRdx], rsp = state.gpr[kRcx];
    if (to64 && (!is_canonical(rip) || !is_canonical(rsp))) return jumped_if(general_protection(exception));
    state.gpr[kRsp] = to64 ? rsp : static_cast<uint32_t>(rsp);
    uint64_t code = state.sysenter_cs + (to64 ? 32 : 16);
    load_flat(state, code, to64 ? kFlatCode64 : kFlatCode32, to64 ? rip : static_cast<uint32_t>(rip),
              code + 8, 3);
    return Outcome::kJumped;
}

// In 64-bit code the frame always has a stack pointer, elsewhere where the privilege changes.
Outcome iret_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    unsigned size = instruction.operand_size;
    uint64_t frame[5];  // rip, cs, rflags, rsp, ss
    CodeTarget target;
    SegmentRegister stack = state.segments[kSs];
    if ((state.rflags & kFlagNt) && state.protected_mode()) return jumped_if(general_protection(exception));
    uint64_t rsp = state.gpr[kRsp];
    bool always = state.code64();
    bool read = always ? read_stack_numbers<5>(cpu, size, rsp, frame, exception)
                       : read_stack_numbers<3>(cpu, size, rsp, frame, exception);
    if (!read || !check_return_target(cpu, low16(frame[1]), target, exception)) return Outcome::kFault;
    bool outward = target.cpl > state.cpl(), switches = outward || always;
    rsp += 3 * size;
    if (outward && !always && !read_stack_numbers<2>(cpu, size, rsp, frame + 3, exception))
        return Outcome::kFault;
    if (switches && !check_return_stack(cpu, low16(frame[4]), target, stack, exception))
        return Outcome::kFault;
    if (!check_rip(cpu, target, frame[0], exception)) return Outcome::kFault;

    state.rflags = iret_flags(cpu, frame[2], size);
    if (switches) {
        state.gpr[kRsp] = frame[3];
    } else {
        set_stack_pointer(state, rsp);
    }
    state.segments[kSs] = stack;
    enter_code(state, target.segment, frame[0]);
    if (outward) unload_privileged_segments(state, target.cpl);
    return Outcome::kJumped;
}

Outcome far_jump_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    FarPointer to;
    CodeTarget target;
    if (!read_far_pointer(cpu, instruction, to, exception) ||
        !check_far_target(cpu, to.selector, target, exception) ||
        !check_rip(cpu, target, to.offset, exception))
        return Outcome::kFault;
    enter_code(cpu.state, target.segment, to.offset);
    return Outcome::kJumped;
}

Outcome far_call_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    unsigned size = instruction.operand_size;
    FarPointer to;
    CodeTarget target;
    if (!read_far_pointer(cpu, instruction, to, exception) ||
        !check_far_target(cpu, to.selector, target, exception) ||
        !check_rip(cpu, target, to.offset, exception))
        return Outcome::kFault;
    uint64_t back = state.rip_behind(instruction.length), code = state.segments[kCs].selector;
    uint64_t rsp = state.gpr[kRsp] - 2 * size;
    if (!check_stack_writable(cpu, rsp, size, exception) ||
        !write_stack(cpu, rsp + size, &code, size, exception) ||
        !write_stack(cpu, rsp, &back, size, exception))
        return Outcome::kFault;
    set_stack_pointer(state, rsp);
    enter_code(state, target.segment, to.offset);
    return Outcome::kJumped;
}

Outcome far_return_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    CpuState& state = cpu.state;
    unsigned size = instruction.operand_size;
    uint64_t extra = instruction.opcode == 0xca ? instruction.immediate & 0xffff : 0;
    uint64_t frame[2];  // rip, cs
    CodeTarget target;
    if (!read_stack_numbers<2>(cpu, size, state.gpr[kRsp], frame, exception) ||
        !check_return_target(cpu, low16(frame[1]), target, exception) ||
        !check_rip(cpu, target, frame[0], exception))
        return Outcome::kFault;
    uint64_t rsp = state.gpr[kRsp] + 2 * size + extra;
    bool outward = target.cpl > state.cpl();
    if (outward) {
        uint64_t outer[2];  // rsp, ss
        SegmentRegister stack;
        if (!read_stack_numbers<2>(cpu, size, rsp, outer, exception) ||
            !check_return_stack(cpu, low16(outer[1]), target, stack, exception))
            return Outcome::kFault;
        state.segments[kSs] = stack;
        state.gpr[kRsp] = outer[0] + extra;
    } else {
        set_stack_pointer(state, rsp);
    }
    enter_code(state, target.segment, frame[0]);
    if (outward) unload_privileged_segments(state, target.cpl);
    return Outcome::kJumped;
}

Outcome int_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    auto vector = static_cast<uint8_t>(instruction.immediate);
    return jumped_if(software_interrupt(cpu, instruction, vector, EventSource::kSoftware, exception));
}

Outcome int3_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return jumped_if(software_interrupt(cpu, instruction, kBp, EventSource::kSoftware, exception));
}

Outcome int1_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return jumped_if(software_interrupt(cpu, instruction, kDb, EventSource::kException, exception));
}

Outcome undefined_instruction(Cpu&, const Instruction&, Exception& exception) {
    raise(exception, kUd);
    return Outcome::kFault;
}

}  // namespace lockstep::cpu
