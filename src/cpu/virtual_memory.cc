// SPDX-License-Identifier: Apache-2.0
#include "cpu/virtual_memory.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "cpu/alignment.h"
#include "x86/paging.h"

namespace lockstep::cpu {

namespace {

/// The one or two pieces of guest-physical memory behind a virtual range.
struct Pieces {
    GuestPhys first, second;
    unsigned first_size = 0;
};

bool translate_one(Cpu& cpu, Privilege privilege, uint64_t at, Access access, GuestPhys& out,
                   Exception& exception) {
    auto result = cpu.mmu.translate(GuestVirt(at), access, privilege == Privilege::kUser);
    if (auto* fault = std::get_if<Exception>(&result)) {
        exception = *fault;
        return false;
    }
    out = GuestPhys(std::get<const TlbEntry*>(result)->page + (at & kPageMask));
    return true;
}

/// Whether the access raises #AC.
bool misaligned(const CpuState& state, uint64_t at, unsigned size) {
    return size > 1 && at % alignment_of(size) && checks_alignment(state);
}

bool translate_range(Cpu& cpu, Privilege privilege, uint64_t at, unsigned size, Access access, Pieces& out,
                     Exception& exception) {
    CHECK(size <= kPageSize, "an access of {} bytes", size);
    out.first_size = static_cast<unsigned>(std::min<uint64_t>(size, kPageSize - (at & kPageMask)));
    // Addresses are checked before pages are walked: the first page must not fault where the second can't be.
    if (out.first_size < size && !x86::is_canonical(at + size - 1)) return general_protection(exception);
    if (privilege == Privilege::kUser && misaligned(cpu.state, at, size)) {
        if (!x86::is_canonical(at)) return general_protection(exception);
        exception = kAlignmentCheck;
        return false;
    }
    if (!translate_one(cpu, privilege, at, access, out.first, exception)) return false;
    return out.first_size == size ||
           translate_one(cpu, privilege, at + out.first_size, access, out.second, exception);
}

/// MMIO takes numbers of 1, 2, 4 and 8 bytes; anything else goes in such pieces, largest first.
unsigned mmio_piece(unsigned size) { return size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1; }

void read_physical(Cpu& cpu, GuestPhys at, uint8_t* out, unsigned size) {
    if (size == 0) return;
    if (cpu.memory.is_ram(at, size)) {
        std::memcpy(out, cpu.memory.host(at), size);
        return;
    }
    for (unsigned done = 0; done < size;) {
        unsigned piece = mmio_piece(size - done);
        uint64_t value = cpu.platform.read_mmio(at + done, piece);
        std::memcpy(out + done, &value, piece);
        done += piece;
    }
}

void write_physical(Cpu& cpu, GuestPhys at, const uint8_t* in, unsigned size) {
    if (size == 0) return;
    if (cpu.memory.is_ram(at, size)) {
        if (cpu.memory.directly_writable(at))
            std::memcpy(cpu.memory.host(at), in, size);
        else
            cpu.memory.write(at, {in, size});
        return;
    }
    for (unsigned done = 0; done < size;) {
        unsigned piece = mmio_piece(size - done);
        uint64_t value = 0;
        std::memcpy(&value, in + done, piece);
        cpu.platform.write_mmio(at + done, piece, value);
        done += piece;
    }
}

/// Turns the #GP of a non-canonical address into #SS.
bool as_stack_fault(Exception& exception) {
    if (exception.vector == kGp) exception.vector = kSs_;
    return false;
}

}  // namespace

bool read_as(Cpu& cpu, Privilege privilege, uint64_t at, void* out, unsigned size, Exception& exception) {
    if (const uint8_t* host = host_range<Access::kRead>(cpu, privilege, at, size)) {
        copy_operand(out, host, size);
        return true;
    }
    Pieces pieces;
    if (!translate_range(cpu, privilege, at, size, Access::kRead, pieces, exception)) return false;
    auto* bytes = static_cast<uint8_t*>(out);
    read_physical(cpu, pieces.first, bytes, pieces.first_size);
    read_physical(cpu, pieces.second, bytes + pieces.first_size, size - pieces.first_size);
    return true;
}

bool write_as(Cpu& cpu, Privilege privilege, uint64_t at, const void* in, unsigned size,
              Exception& exception) {
    if (uint8_t* host = host_range<Access::kWrite>(cpu, privilege, at, size)) {
        copy_operand(host, in, size);
        return true;
    }
    Pieces pieces;
    if (!translate_range(cpu, privilege, at, size, Access::kWrite, pieces, exception)) return false;
    auto* bytes = static_cast<const uint8_t*>(in);
    write_physical(cpu, pieces.first, bytes, pieces.first_size);
    write_physical(cpu, pieces.second, bytes + pieces.first_size, size - pieces.first_size);
    return true;
}

bool check_writable_as(Cpu& cpu, Privilege privilege, uint64_t at, unsigned size, Exception& exception) {
    Pieces pieces;
    return translate_range(cpu, privilege, at, size, Access::kWrite, pieces, exception);
}

bool check_writable(Cpu& cpu, uint64_t at, unsigned size, Exception& exception) {
    return check_writable_as(cpu, current_privilege(cpu), at, size, exception);
}

bool read_virtual(Cpu& cpu, uint64_t at, void* out, unsigned size, Exception& exception) {
    if (!read_as(cpu, current_privilege(cpu), at, out, size, exception)) return false;
    cpu.breakpoints.note_read(at, size);
    return true;
}

bool write_virtual(Cpu& cpu, uint64_t at, const void* in, unsigned size, Exception& exception) {
    if (!write_as(cpu, current_privilege(cpu), at, in, size, exception)) return false;
    cpu.breakpoints.note_write(at, size);
    return true;
}

bool permits(const SegmentRegister& segment, uint64_t offset, unsigned size, Access access) {
    using namespace x86;
    unsigned attributes = segment.attributes;
    if (!(attributes & kAttributePresent)) return false;
    bool code = attributes & kAttributeCode, writable_or_readable = attributes & kAttributeWritable;
    bool allowed = code ? access != Access::kWrite && writable_or_readable
                        : access != Access::kWrite || writable_or_readable;
    if (!allowed) return false;
    uint64_t last = offset + size - 1;
    if (!expands_down(segment)) return last <= segment.limit;
    return offset > segment.limit && last <= (attributes & kAttributeBig ? 0xffffffff : 0xffff);
}

bool linear_address(const Cpu& cpu, unsigned segment, uint64_t offset, unsigned size, Access access,
                    uint64_t& linear, Exception& exception) {
    const CpuState& state = cpu.state;
    linear = offset + (segment == kNoRegister ? 0 : state.segments[segment].base);
    if (state.code64()) return true;
    linear = static_cast<uint32_t>(linear);
    return permits(state.segments[segment], offset, size, access) ||
           raise(exception, segment == kSs ? kSs_ : kGp, 0);
}

namespace {

/// The linear address of an offset in the stack segment.
bool stack_address(const Cpu& cpu, uint64_t offset, unsigned size, Access access, uint64_t& linear,
                   Exception& exception) {
    linear = offset;
    return cpu.state.code64() ||
           linear_address(cpu, kSs, offset & stack_mask(cpu.state), size, access, linear, exception);
}

}  // namespace

bool read_stack(Cpu& cpu, uint64_t at, void* out, unsigned size, Exception& exception) {
    return stack_address(cpu, at, size, Access::kRead, at, exception) &&
           (read_virtual(cpu, at, out, size, exception) || as_stack_fault(exception));
}

bool write_stack(Cpu& cpu, uint64_t at, const void* in, unsigned size, Exception& exception) {
    return stack_address(cpu, at, size, Access::kWrite, at, exception) &&
           (write_virtual(cpu, at, in, size, exception) || as_stack_fault(exception));
}

bool check_stack_writable(Cpu& cpu, uint64_t at, unsigned size, Exception& exception) {
    return stack_address(cpu, at, size, Access::kWrite, at, exception) &&
           (check_writable(cpu, at, size, exception) || as_stack_fault(exception));
}

uint64_t operand_offset(const Cpu& cpu, const Instruction& instruction, uint64_t more) {
    uint64_t at = static_cast<uint64_t>(instruction.displacement) + more;
    if (instruction.rip_relative) at += cpu.state.rip + instruction.length;
    if (instruction.base != kNoRegister) at += cpu.state.gpr[instruction.base];
    if (instruction.index != kNoRegister) at += cpu.state.gpr[instruction.index] * instruction.scale;
    return at & mask_of_size(instruction.address_size);
}

uint64_t effective_address(const Cpu& cpu, const Instruction& instruction) {
    uint64_t at = operand_offset(cpu, instruction);
    if (instruction.segment != kNoRegister) at += cpu.state.segments[instruction.segment].base;
    return instruction.width == CodeWidth::k64 ? at : static_cast<uint32_t>(at);
}

bool operand_address(const Cpu& cpu, const Instruction& instruction, unsigned size, Access access,
                     uint64_t& linear, Exception& exception) {
    return linear_address(cpu, instruction.segment, operand_offset(cpu, instruction), size, access, linear,
                          exception);
}

bool read_operand_memory(Cpu& cpu, const Instruction& instruction, void* out, unsigned size,
                         Exception& exception) {
    uint64_t at = 0;
    return operand_address(cpu, instruction, size, Access::kRead, at, exception) &&
           (read_virtual(cpu, at, out, size, exception) ||
            (instruction.stack_segment && as_stack_fault(exception)));
}

bool write_operand_memory(Cpu& cpu, const Instruction& instruction, const void* in, unsigned size,
                          Exception& exception) {
    uint64_t at = 0;
    return operand_address(cpu, instruction, size, Access::kWrite, at, exception) &&
           (write_virtual(cpu, at, in, size, exception) ||
            (instruction.stack_segment && as_stack_fault(exception)));
}

bool read_far_pointer(Cpu& cpu, const Instruction& instruction, FarPointer& out, Exception& exception) {
    unsigned size = instruction.operand_size;
    out = {};
    if (instruction.operands[0].kind == OperandKind::kFarPointer) {
        out = {instruction.immediate & mask_of_size(size), static_cast<uint16_t>(instruction.immediate2)};
        return true;
    }
    uint64_t at = 0;
    if (!operand_address(cpu, instruction, size + 2, Access::kRead, at, exception)) return false;
    return (read_virtual(cpu, at, &out.offset, size, exception) &&
            read_virtual(cpu, at + size, &out.selector, 2, exception)) ||
           (instruction.stack_segment && as_stack_fault(exception));
}

void write_register(CpuState& state, unsigned number, unsigned size, uint64_t value) {
    uint64_t mask = mask_of_size(size);
    uint64_t kept = size >= 4 ? 0 : state.gpr[number] & ~mask;
    state.gpr[number] = kept | (value & mask);
}

bool read_operand(Cpu& cpu, const Instruction& instruction, unsigned which, uint64_t& value,
                  Exception& exception) {
    const Operand& operand = instruction.operands[which];
    value = 0;
    switch (operand.kind) {
        case OperandKind::kRegister:
            value = cpu.state.gpr[operand.number] & mask_of_size(operand.size);
            return true;
        case OperandKind::kImmediate:
            value = instruction.immediate;
            return true;
        case OperandKind::kMemory:
            return read_operand_memory(cpu, instruction, &value, operand.size, exception);
        default:
            CHECK(false, "operand {} of opcode {:#x} has no value", which, instruction.opcode);
    }
    return false;
}

bool write_operand(Cpu& cpu, const Instruction& instruction, unsigned which, uint64_t value,
                   unsigned memory_size, Exception& exception) {
    const Operand& operand = instruction.operands[which];
    if (operand.kind == OperandKind::kMemory)
        return write_operand_memory(cpu, instruction, &value, memory_size, exception);
    CHECK(operand.kind == OperandKind::kRegister, "operand {} of opcode {:#x} cannot be written", which,
          instruction.opcode);
    write_register(cpu.state, operand.number, operand.size, value);
    return true;
}

}  // namespace lockstep::cpu
