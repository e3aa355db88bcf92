// Accesses to virtual memory for the interpreter's own use.
#pragma once

#include <cstdint>

#include "cpu/cpu.h"
#include "cpu/instruction.h"

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

/// At most a page long, so that at most two pages are touched. False: `exception` is set and nothing was
/// changed.
[[nodiscard]] bool read_as(Cpu& cpu, Privilege privilege, uint64_t at, void* out, unsigned size,
                           Exception& exception);
[[nodiscard]] bool write_as(Cpu& cpu, Privilege privilege, uint64_t at, const void* in, unsigned size,
                            Exception& exception);
/// The checks and side effects of a write on the page tables, without the write.
[[nodiscard]] bool check_writable(Cpu& cpu, uint64_t at, unsigned size, Exception& exception);

/// Reads and writes on the stack: a non-canonical address raises #SS.
[[nodiscard]] bool read_stack(Cpu& cpu, uint64_t at, void* out, unsigned size, Exception& exception);
[[nodiscard]] bool write_stack(Cpu& cpu, uint64_t at, const void* in, unsigned size, Exception& exception);
[[nodiscard]] bool check_stack_writable(Cpu& cpu, uint64_t at, unsigned size, Exception& exception);

/// The linear address of the memory operand.
uint64_t effective_address(const Cpu& cpu, const Instruction& instruction);
[[nodiscard]] bool read_operand_memory(Cpu& cpu, const Instruction& instruction, void* out, unsigned size,
                                       Exception& exception);
[[nodiscard]] bool write_operand_memory(Cpu& cpu, const Instruction& instruction, const void* in,
                                        unsigned size, Exception& exception);

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
