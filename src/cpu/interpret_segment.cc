// SPDX-License-Identifier: Apache-2.0
// Segment registers, descriptor tables, bases of FS and GS, and the instructions that inspect selectors.
#include <algorithm>
#include <cstring>
#include <utility>

#include "cpu/handlers.h"
#include "cpu/segments.h"
#include "x86/control.h"
#include "x86/paging.h"

namespace lockstep::cpu {

using namespace x86;

namespace {

uint16_t low16(uint64_t value) { return static_cast<uint16_t>(value); }

bool load_table_register(Cpu& cpu, const Instruction& instruction, TableRegister& table,
                         Exception& exception) {
    uint8_t image[10];
    unsigned size = instruction.width == CodeWidth::k64 ? 10 : 6;
    if (!require_supervisor(cpu, exception) || !read_operand_memory(cpu, instruction, image, size, exception))
        return false;
    uint64_t base = 0;
    uint16_t limit = 0;
    std::memcpy(&limit, image, 2);
    std::memcpy(&base, image + 2, size - 2);
    if (size == 6 && instruction.operand_size == 2) base &= 0xffffff;
    if (!is_canonical(base)) return general_protection(exception);
    table = {base, limit};
    return true;
}

bool store_table_register(Cpu& cpu, const Instruction& instruction, const TableRegister& table,
                          Exception& exception) {
    uint8_t image[10];
    auto limit = low16(table.limit);
    std::memcpy(image, &limit, 2);
    std::memcpy(image + 2, &table.base, 8);
    unsigned size = instruction.width == CodeWidth::k64 ? 10 : 6;
    return write_operand_memory(cpu, instruction, image, size, exception);
}

/// LLDT and LTR: a system descriptor of `type` from the GDT.
bool read_system_segment(Cpu& cpu, uint16_t selector, unsigned type, DescriptorSlot& slot,
                         Exception& exception) {
    uint32_t error = selector & 0xfffc;
    if (selector & 4) return general_protection(exception, error);
    if (!read_system_descriptor(cpu, selector, kGp, slot, exception)) return false;
    const Descriptor& descriptor = slot.descriptor;
    if (!descriptor.is_system() || descriptor.type() != type) return general_protection(exception, error);
    if (!descriptor.present()) return raise(exception, kNp, error);
    return is_canonical(descriptor.base64()) || general_protection(exception, error);
}

SegmentRegister make_system_segment(uint16_t selector, const Descriptor& descriptor) {
    return {selector, descriptor.attributes(), descriptor.limit(), descriptor.base64()};
}

/// FS or GS: the ModRM.reg field of RDFSBASE and its relatives is even for FS, odd for GS.
Segment base_segment(const Instruction& instruction) { return instruction.opcode_extension & 1 ? kGs : kFs; }

/// Of LSS, LFS, LGS, LES and LDS, by the last byte of their opcodes.
Segment far_pointer_segment(uint8_t opcode) {
    switch (opcode) {
        case 0xb2:
            return kSs;
        case 0xb4:
            return kFs;
        case 0xb5:
            return kGs;
        case 0xc4:
            return kEs;
        default:
            return kDs;
    }
}

enum class Lookup : uint8_t { kFound, kInvisible, kFault };

/// The descriptor for LAR, LSL, VERR and VERW: what isn't there, or may not be seen, only clears ZF.
Lookup look_up(Cpu& cpu, uint16_t selector, DescriptorSlot& slot, Exception& exception) {
    if (is_null_selector(selector)) return Lookup::kInvisible;
    if (!read_descriptor(cpu, selector, kGp, slot, exception))
        return exception.vector == kGp ? Lookup::kInvisible : Lookup::kFault;
    const Descriptor& descriptor = slot.descriptor;
    unsigned most = std::max<unsigned>(cpu.state.cpl(), selector & 3);
    bool visible = descriptor.is_conforming() || descriptor.dpl() >= most;
    return visible ? Lookup::kFound : Lookup::kInvisible;
}

void set_zf(CpuState& state, bool value) { state.rflags = (state.rflags & ~kFlagZf) | (value ? kFlagZf : 0); }

bool has_limit(const Descriptor& descriptor) {
    unsigned type = descriptor.type();
    return !descriptor.is_system() || type == kTypeLdt || type == kTypeTssAvailable || type == kTypeTssBusy;
}

bool has_rights(const Descriptor& descriptor) {
    return has_limit(descriptor) || descriptor.type() == kTypeCallGate;
}

enum class Inspection : uint8_t { kRights, kLimit, kReadable, kWritable };

Outcome inspect(Cpu& cpu, const Instruction& instruction, unsigned operand, Inspection what,
                Exception& exception) {
    uint64_t selector = 0;
    DescriptorSlot slot;
    if (!read_operand(cpu, instruction, operand, selector, exception)) return Outcome::kFault;
    Lookup lookup = look_up(cpu, low16(selector), slot, exception);
    if (lookup == Lookup::kFault) return Outcome::kFault;
    const Descriptor& descriptor = slot.descriptor;
    bool ok = lookup == Lookup::kFound;
    switch (what) {
        case Inspection::kRights:
            ok = ok && has_rights(descriptor);
            break;
        case Inspection::kLimit:
            ok = ok && has_limit(descriptor);
            break;
        case Inspection::kReadable:
            ok = ok && descriptor.is_readable();
            break;
        case Inspection::kWritable:
            ok = ok && descriptor.is_writable_data();
            break;
    }
    set_zf(cpu.state, ok);
    if (ok && (what == Inspection::kRights || what == Inspection::kLimit)) {
        uint64_t value = what == Inspection::kRights ? descriptor.low >> 32 & 0xffff00 : descriptor.limit();
        write_register(cpu.state, instruction.operands[0].number, instruction.operands[0].size, value);
    }
    return Outcome::kNext;
}

}  // namespace

Outcome mov_segment_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    const Operand& to = instruction.operands[0];
    const Operand& from = instruction.operands[1];
    if (from.kind == OperandKind::kSegment)
        return next_if(
            write_operand(cpu, instruction, 0, cpu.state.segments[from.number].selector, 2, exception));
    uint64_t selector = 0;
    if (to.number == kCs) return next_if(raise(exception, kUd));
    if (!read_operand(cpu, instruction, 1, selector, exception)) return Outcome::kFault;
    if (!load_segment(cpu, static_cast<Segment>(to.number), low16(selector), exception))
        return Outcome::kFault;
    if (to.number == kSs) cpu.state.interrupt_shadow = kShadowOfMovSs;
    return Outcome::kNext;
}

Outcome push_segment_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    unsigned size = instruction.operand_size;
    uint64_t selector = cpu.state.segments[instruction.operands[0].number].selector;
    uint64_t rsp = cpu.state.gpr[kRsp] - size;
    if (!write_stack(cpu, rsp, &selector, size, exception)) return Outcome::kFault;
    set_stack_pointer(cpu.state, rsp);
    return Outcome::kNext;
}

Outcome pop_segment_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    unsigned size = instruction.operand_size;
    auto which = static_cast<Segment>(instruction.operands[0].number);
    uint64_t selector = 0, rsp = cpu.state.gpr[kRsp] + size;
    uint64_t mask = stack_mask(cpu.state);  // of the stack that it was popped from
    if (!read_stack(cpu, cpu.state.gpr[kRsp], &selector, size, exception) ||
        !load_segment(cpu, which, low16(selector), exception))
        return Outcome::kFault;
    write_register(cpu.state, kRsp, mask == 0xffff ? 2 : 8, rsp & mask);
    if (which == kSs) cpu.state.interrupt_shadow = kShadowOfMovSs;
    return Outcome::kNext;
}

/// LSS, LFS, LGS, LES, LDS: an offset and a selector from memory.
Outcome load_far_pointer_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    FarPointer pointer;
    if (!read_far_pointer(cpu, instruction, pointer, exception)) return Outcome::kFault;
    if (!load_segment(cpu, far_pointer_segment(instruction.opcode), pointer.selector, exception))
        return Outcome::kFault;
    write_register(cpu.state, instruction.operands[0].number, instruction.operand_size, pointer.offset);
    return Outcome::kNext;
}

Outcome lgdt_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return next_if(load_table_register(cpu, instruction, cpu.state.gdtr, exception));
}
Outcome lidt_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return next_if(load_table_register(cpu, instruction, cpu.state.idtr, exception));
}
Outcome sgdt_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return next_if(store_table_register(cpu, instruction, cpu.state.gdtr, exception));
}
Outcome sidt_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return next_if(store_table_register(cpu, instruction, cpu.state.idtr, exception));
}

Outcome lldt_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    uint64_t selector = 0;
    DescriptorSlot slot;
    if (!require_supervisor(cpu, exception) || !read_operand(cpu, instruction, 0, selector, exception))
        return Outcome::kFault;
    if (is_null_selector(low16(selector))) {
        cpu.state.ldtr = {low16(selector), 0, 0, 0};
        return Outcome::kNext;
    }
    if (!read_system_segment(cpu, low16(selector), kTypeLdt, slot, exception)) return Outcome::kFault;
    cpu.state.ldtr = make_system_segment(low16(selector), slot.descriptor);
    return Outcome::kNext;
}

Outcome ltr_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    uint64_t selector = 0;
    DescriptorSlot slot;
    if (!require_supervisor(cpu, exception) || !read_operand(cpu, instruction, 0, selector, exception))
        return Outcome::kFault;
    if (is_null_selector(low16(selector))) return next_if(general_protection(exception));
    if (!read_system_segment(cpu, low16(selector), kTypeTssAvailable, slot, exception))
        return Outcome::kFault;
    slot.descriptor.low |= uint64_t{kTypeTssBusy} << 40;
    auto byte = static_cast<uint8_t>(slot.descriptor.low >> 40);
    if (!write_as(cpu, Privilege::kSupervisor, slot.at + 5, &byte, 1, exception)) return Outcome::kFault;
    cpu.state.tr = make_system_segment(low16(selector), slot.descriptor);
    return Outcome::kNext;
}

Outcome sldt_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return next_if(write_operand(cpu, instruction, 0, cpu.state.ldtr.selector, 2, exception));
}
Outcome str_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return next_if(write_operand(cpu, instruction, 0, cpu.state.tr.selector, 2, exception));
}

Outcome swapgs_instruction(Cpu& cpu, const Instruction&, Exception& exception) {
    if (!require_supervisor(cpu, exception)) return Outcome::kFault;
    std::swap(cpu.state.segments[kGs].base, cpu.state.kernel_gs_base);
    return Outcome::kNext;
}

Outcome read_segment_base_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    if (!(cpu.state.cr4 & kCr4Fsgsbase)) return next_if(raise(exception, kUd));
    const Operand& to = instruction.operands[0];
    write_register(cpu.state, to.number, to.size, cpu.state.segments[base_segment(instruction)].base);
    return Outcome::kNext;
}

Outcome write_segment_base_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    if (!(cpu.state.cr4 & kCr4Fsgsbase)) return next_if(raise(exception, kUd));
    uint64_t value = 0;
    if (!read_operand(cpu, instruction, 0, value, exception)) return Outcome::kFault;
    if (!is_canonical(value)) return next_if(general_protection(exception));
    cpu.state.segments[base_segment(instruction)].base = value;
    return Outcome::kNext;
}

Outcome lar_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return inspect(cpu, instruction, 1, Inspection::kRights, exception);
}
Outcome lsl_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return inspect(cpu, instruction, 1, Inspection::kLimit, exception);
}
Outcome verr_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return inspect(cpu, instruction, 0, Inspection::kReadable, exception);
}
Outcome verw_instruction(Cpu& cpu, const Instruction& instruction, Exception& exception) {
    return inspect(cpu, instruction, 0, Inspection::kWritable, exception);
}

}  // namespace lockstep::cpu
