// SPDX-License-Identifier: Apache-2.0
// IN, OUT, INS, OUTS, with the I/O permission check (Intel SDM vol. 1, 19.5).
#include "cpu/handlers.h"
#include "cpu/string_registers.h"
#include "x86/descriptor.h"

namespace lockstep::cpu {

namespace {

constexpr uint64_t kPortElements = 4096;  ///< of a REP INS or OUTS, in one piece

/// Looks the port up in the TSS's map.
bool allowed_by_map(Cpu& cpu, uint16_t port, unsigned size, Exception& exception) {
    const SegmentRegister& tr = cpu.state.tr;
    uint16_t map = 0, bits = 0;
    if (x86::kTssIoMap + 1 > tr.limit) return general_protection(exception);
    if (!read_as(cpu, Privilege::kSupervisor, tr.base + x86::kTssIoMap, &map, 2, exception)) return false;
    uint32_t at = map + port / 8u;
    if (at + 1 > tr.limit) return general_protection(exception);
    if (!read_as(cpu, Privilege::kSupervisor, tr.base + at, &bits, 2, exception)) return false;
    unsigned wanted = ((1u << size) - 1) << port % 8;
    return (bits & wanted) == 0 || general_protection(exception);
}

bool may_use_port(Cpu& cpu, uint16_t port, unsigned size, Exception& exception) {
    return !cpu.state.protected_mode() || cpu.state.cpl() <= (cpu.state.rflags >> 12 & 3) ||
           allowed_by_map(cpu, port, size, exception);
}

uint16_t port_of(const Cpu& cpu, const Instruction& instruction, unsigned which) {
    bool immediate = instruction.operands[which].kind == OperandKind::kImmediate;
    return static_cast<uint16_t>(immediate ? instruction.immediate & 0xff : cpu.state.gpr[kRdx]);
}

/// Bytes of one transfer: even opcodes move bytes; 64 bits are not offered.
unsigned transfer_size(const Instruction& instruction) {
    if (!(instruction.opcode & 1)) return 1;
    return instruction.operand_size == 2 ? 2 : 4;
}

}  // namespace

Outcome in_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    unsigned size = transfer_size(instruction);
    uint16_t port = port_of(cpu, instruction, 1);
    if (!may_use_port(cpu, port, size, exception)) return Outcome::kFault;
    write_register(cpu.state, kRax, size, cpu.platform.read_port(port, size));
    cpu.breakpoints.note_port(port, size);
    return Outcome::kNext;
}

Outcome out_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    unsigned size = transfer_size(instruction);
    uint16_t port = port_of(cpu, instruction, 0);
    if (!may_use_port(cpu, port, size, exception)) return Outcome::kFault;
    auto value = static_cast<uint32_t>(cpu.state.gpr[kRax] & mask_of_size(size));
    cpu.platform.write_port(port, size, value);
    cpu.breakpoints.note_port(port, size);
    return Outcome::kNext;
}

Outcome ins_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    unsigned size = transfer_size(instruction);
    auto port = static_cast<uint16_t>(cpu.state.gpr[kRdx]);
    if (!may_use_port(cpu, port, size, exception)) return Outcome::kFault;
    StringRegisters registers(cpu.state, instruction, size);
    uint64_t left = registers.piece(kPortElements);
    for (; left > 0 && !cpu.breakpoints.met(); --left) {
        uint64_t at = registers.destination();
        if (!registers.may_reach_destination(cpu, Access::kWrite, exception) ||
            !check_writable(cpu, at, size, exception))
            return Outcome::kFault;  // before the port's side effects
        uint32_t value = cpu.platform.read_port(port, size);
        if (!write_virtual(cpu, at, &value, size, exception)) return Outcome::kFault;
        cpu.breakpoints.note_port(port, size);
        registers.advance_destination(1);
        registers.count_down(1);
    }
    return registers.outcome();
}

Outcome outs_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    unsigned size = transfer_size(instruction);
    auto port = static_cast<uint16_t>(cpu.state.gpr[kRdx]);
    if (!may_use_port(cpu, port, size, exception)) return Outcome::kFault;
    StringRegisters registers(cpu.state, instruction, size);
    uint64_t left = registers.piece(kPortElements);
    for (; left > 0 && !cpu.breakpoints.met(); --left) {
        uint32_t value = 0;
        if (!registers.may_read_source(cpu, exception) ||
            !read_virtual(cpu, registers.source(), &value, size, exception))
            return Outcome::kFault;
        cpu.platform.write_port(port, size, value);
        cpu.breakpoints.note_port(port, size);
        registers.advance_source(1);
        registers.count_down(1);
    }
    return registers.outcome();
}

}  // namespace lockstep::cpu
