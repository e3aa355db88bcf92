// SPDX-License-Identifier: Apache-2.0
// Accesses to virtual memory for the interpreter's own use.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/alignment.h"
#include "cpu/cpu.h"
#include "cpu/instruction.h"
#include "x86/descriptor.h"

namespace lockstep::cpu {

/// Whose rights an access has. Descriptor tables, the TSS and the frames of exceptions are reached as
/// supervisor whatever the CPL is.
enum class Privilege : uint8_t { kSupervisor, kUser };

inline Privilege current_privilege(const Cpu& cpu) {
    return cpu.state.cpl() == 3 ? Privilege::kUser : Privilege::kSupervisor;
}

/// Sets the exception; always false, so that a check can end with `return raise(...)`.
inline bool raise(Exception& out, uint8_t vector) {
    out = Exception{vector, false, 0, 0};
    return false;
}
inline bool raise(Exception& out, uint8_t vector, uint32_t error_code) {
    out = Exception{vector, true, error_code, 0};
    return false;
}
inline bool general_protection(Exception& out, uint32_t error_code = 0) {
    return raise(out, kGp, error_code);
}

inline Outcome next_if(bool ok) { return ok ? Outcome::kNext : Outcome::kFault; }
inline Outcome jumped_if(bool ok) { return ok ? Outcome::kJumped : Outcome::kFault; }

/// The host memory of [at, at + size), `size` at most a page, where that is RAM on one page whose translation
/// is at hand and allows the access; null: take the long way, which does the walk or raises the exception.
/// Memory to be written has no mark. While alignment is checked nothing goes this way, and never what has a
/// breakpoint.
template <Access kAccess>
inline uint8_t* host_range(const Cpu& cpu, Privilege privilege, uint64_t at, uint64_t size) {
    if ((at & kPageMask) + size > kPageSize || checks_alignment(cpu.state)) return nullptr;
    if (cpu.breakpoints.watches(at, size)) return nullptr;
    uint8_t* host = cpu.mmu.glance<kAccess>(GuestVirt(at), privilege == Privilege::kUser);
    if (kAccess != Access::kWrite || !host) return host;
    auto physical = static_cast<uint64_t>(host - cpu.memory.base());
    return cpu.memory.directly_writable(GuestPhys(physical)) ? host : nullptr;
}

/// memcpy() for the sizes of operands.
inline void copy_operand(void* to, const void* from, unsigned size) {
    switch (size) {
        case 8:
            std::memcpy(to, from, 8);
            break;
        case 4:
            std::memcpy(to, from, 4);
            break;
        case 2:
            std::memcpy(to, from, 2);
            break;
        case 1:
            std::memcpy(to, from, 1);
            break;
        default:
            std::memcpy(to, from, size);
    }
}

/// At most a page long, so that at most two pages are touched. False: `exception` is set and nothing was
/// changed.
[[nodiscard]] bool read_as(Cpu& cpu, Privilege privilege, uint64_t at, void* out, unsigned size,
                           Exception& exception);
/// The same for what has a fixed size.
template <typename T>
[[nodiscard]] inline bool read_object(Cpu& cpu, Privilege privilege, uint64_t at, T& out,
                                      Exception& exception) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (const uint8_t* host = host_range<Access::kRead>(cpu, privilege, at, sizeof out)) {
        std::memcpy(&out, host, sizeof out);
        return true;
    }
    return read_as(cpu, privilege, at, &out, sizeof out, exception);
}
[[nodiscard]] bool write_as(Cpu& cpu, Privilege privilege, uint64_t at, const void* in, unsigned size,
                            Exception& exception);
/// The checks and side effects of a write on the page tables, without the write.
[[nodiscard]] bool check_writable_as(Cpu& cpu, Privilege privilege, uint64_t at, unsigned size,
                                     Exception& exception);
[[nodiscard]] bool check_writable(Cpu& cpu, uint64_t at, unsigned size, Exception& exception);

/// Whether a segment's offsets are those above its limit.
inline bool expands_down(const SegmentRegister& segment) {
    return !(segment.attributes & x86::kAttributeCode) && (segment.attributes & x86::kAttributeConforming);
}
/// Whether a segment lets code at [offset, offset + size) outside 64-bit code: its type and its limit (Intel SDM vol.
/// 3, 5.3 and 5.5).
bool permits(const SegmentRegister& segment, uint64_t offset, unsigned size, Access access);
/// The linear address of [offset, offset + size) in a segment, or kNoRegister. Outside 64-bit code the segment must permit
/// the access; false: #GP, or #SS of the stack segment.
[[nodiscard]] bool linear_address(const Cpu& cpu, unsigned segment, uint64_t offset, unsigned size,
                                  Access access, uint64_t& linear, Exception& exception);

/// The bits of RSP that stack instructions use: outside 64-bit code, and at all.
inline uint64_t stack_mask(const SegmentRegister& stack) {
    return stack.attributes & x86::kAttributeBig ? 0xffffffff : 0xffff;
}
inline uint64_t stack_mask(const CpuState& state) {
    return state.code64() ? ~uint64_t{0} : stack_mask(state.segments[kSs]);
}
inline void set_stack_pointer(CpuState& state, uint64_t value) {
    uint64_t mask = stack_mask(state);
    uint64_t kept = mask == 0xffff ? state.gpr[kRsp] & 0xffff0000 : 0;
    state.gpr[kRsp] = kept | (value & mask);
}

/// Reads and writes at an offset in the stack segment: a non-canonical address raises #SS.
[[nodiscard]] bool read_stack(Cpu& cpu, uint64_t at, void* out, unsigned size, Exception& exception);
[[nodiscard]] bool write_stack(Cpu& cpu, uint64_t at, const void* in, unsigned size, Exception& exception);
[[nodiscard]] bool check_stack_writable(Cpu& cpu, uint64_t at, unsigned size, Exception& exception);

/// The offset of the memory operand in its segment; `more` is a part of the sum.
uint64_t operand_offset(const Cpu& cpu, const Instruction& instruction, uint64_t more = 0);
/// The linear address of the memory operand, unchecked.
uint64_t effective_address(const Cpu& cpu, const Instruction& instruction);
/// The same, with the checks of its segment.
[[nodiscard]] bool operand_address(const Cpu& cpu, const Instruction& instruction, unsigned size,
                                   Access access, uint64_t& linear, Exception& exception);
[[nodiscard]] bool read_operand_memory(Cpu& cpu, const Instruction& instruction, void* out, unsigned size,
                                       Exception& exception);
[[nodiscard]] bool write_operand_memory(Cpu& cpu, const Instruction& instruction, const void* in,
                                        unsigned size, Exception& exception);

/// A far pointer, in memory (an offset of the operand's size, then the selector) or in the instruction.
struct FarPointer {
    uint64_t offset = 0;
    uint16_t selector = 0;
};
[[nodiscard]] bool read_far_pointer(Cpu& cpu, const Instruction& instruction, FarPointer& out,
                                    Exception& exception);

/// The value of a register, immediate or memory operand, zero-extended.
[[nodiscard]] bool read_operand(Cpu& cpu, const Instruction& instruction, unsigned which, uint64_t& value,
                                Exception& exception);
/// Writes a register (32 bits clear the upper half, 8 and 16 bits keep the rest) or `memory_size` bytes of
/// memory.
[[nodiscard]] bool write_operand(Cpu& cpu, const Instruction& instruction, unsigned which, uint64_t value,
                                 unsigned memory_size, Exception& exception);
void write_register(CpuState& state, unsigned number, unsigned size, uint64_t value);

constexpr uint64_t mask_of_size(unsigned size) {
    return size == 8 ? ~uint64_t{0} : (uint64_t{1} << size * 8) - 1;
}

}  // namespace lockstep::cpu
