// SPDX-License-Identifier: Apache-2.0
// Loading segment registers and descriptors (Intel SDM vol. 3, 5.4 to 5.8).
#pragma once

#include "cpu/virtual_memory.h"
#include "x86/descriptor.h"

namespace lockstep::cpu {

/// A descriptor and where it lies.
struct DescriptorSlot {
    x86::Descriptor descriptor;
    uint64_t at = 0;
};

/// The 8-byte descriptor that `selector` (not null) names. Beyond its table: exception `vector` with the
/// selector and `external` (0 or 1) as error code.
[[nodiscard]] bool read_descriptor(Cpu& cpu, uint16_t selector, uint8_t vector, DescriptorSlot& out,
                                   Exception& exception, uint32_t external = 0);
/// The same for the 16-byte system descriptors of long mode.
[[nodiscard]] bool read_system_descriptor(Cpu& cpu, uint16_t selector, uint8_t vector, DescriptorSlot& out,
                                          Exception& exception);
/// Sets the accessed bit in memory if it is clear.
[[nodiscard]] bool mark_accessed(Cpu& cpu, DescriptorSlot& slot, Exception& exception);

SegmentRegister make_segment(uint16_t selector, const x86::Descriptor& descriptor);
/// SS with a null selector, as 64-bit code has it below privilege level 3.
SegmentRegister null_stack_segment(uint16_t selector, unsigned cpl);
/// CS or SS of SYSCALL, SYSENTER and the way back.
SegmentRegister flat_segment(uint16_t selector, uint16_t attributes, unsigned dpl);

/// Loads ES, SS, DS, FS or GS as MOV and POP do.
[[nodiscard]] bool load_segment(Cpu& cpu, Segment which, uint16_t selector, Exception& exception);

/// A segment register as real mode loads it: the selector is the segment's address, the rest stays as it was.
SegmentRegister real_mode_segment(const SegmentRegister& before, uint16_t selector);
/// Begins code in a segment, at `rip`. Outside 64-bit code the eight general registers there have no upper halves
/// (Intel SDM vol. 1, 3.4.1.1).
void enter_code(CpuState& state, const SegmentRegister& code, uint64_t rip);

/// Where a far transfer goes.
struct CodeTarget {
    SegmentRegister segment;
    unsigned cpl = 0;
};
/// Checks a code segment for a far JMP or CALL to the same privilege level.
[[nodiscard]] bool check_far_target(Cpu& cpu, uint16_t selector, CodeTarget& out, Exception& exception);
/// Checks a code segment for RET far and IRET, to the privilege level that the selector asks for.
[[nodiscard]] bool check_return_target(Cpu& cpu, uint16_t selector, CodeTarget& out, Exception& exception);
/// Checks the code segment of a gate in the IDT; `external` is 0 or kErrorExternal, for the error code. In long mode it
/// must be one of 64-bit code.
[[nodiscard]] bool check_handler_target(Cpu& cpu, uint16_t selector, uint32_t external, CodeTarget& out,
                                        Exception& exception);
/// Checks the stack segment that belongs to `target`.
[[nodiscard]] bool check_return_stack(Cpu& cpu, uint16_t selector, const CodeTarget& target,
                                      SegmentRegister& out, Exception& exception);
/// After a return to less privilege: data segments that it may not use become null.
void unload_privileged_segments(CpuState& state, unsigned cpl);

}  // namespace lockstep::cpu
