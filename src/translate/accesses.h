// SPDX-License-Identifier: Apache-2.0
// Which bytes of memory an instruction touches: the one answer for all of the engine. Blocks make their
// look-ups by it, and the slow path, the window and faults find the same accesses again.
//
// What the interpreter does isn't here (but for the system instructions that blocks hold): it makes its own
// accesses.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "cpu/cpu_state.h"
#include "translate/guest_instruction.h"

namespace lockstep::translate {

/// One access, as the instruction's encoding has it.
struct EncodedAccess {
    const ZydisDecodedOperand* operand = nullptr;  ///< of the instruction; null: by `base` alone
    uint8_t base = 0;                              ///< general register, where there is no operand
    int8_t displacement = 0;                       ///< is added to it
    unsigned size = 0;                             ///< bytes
    bool read = false;
    bool write = false;

    /// By SS: non-canonical addresses raise #SS.
    bool by_stack() const { return !operand || operand->mem.segment == ZYDIS_REGISTER_SS; }
};

/// An access at the address that the registers give.
struct MemoryAccess {
    uint64_t address = 0;   ///< linear
    uint64_t reckoned = 0;  ///< as a block reckons it: the same, but for bases that a block doesn't know
    uint64_t offset = 0;    ///< in its segment
    cpu::Segment segment = cpu::kDs;
    unsigned size = 0;  ///< bytes
    bool read = false;
    bool write = false;
    bool stack = false;  ///< by SS: non-canonical addresses raise #SS
};

/// Accesses in the order in which a block makes them.
template <typename Access>
struct Accesses {
    std::array<Access, 2> items{};
    size_t count = 0;

    void add(const Access& access) { items[count++] = access; }
    const Access* begin() const { return items.data(); }
    const Access* end() const { return items.data() + count; }
};
using AccessList = Accesses<MemoryAccess>;

/// What an instruction touches. Hints (NOP, PREFETCH) and LEA name memory and touch none.
Accesses<EncodedAccess> accesses_of(const GuestInstruction& instruction);
/// The same with the registers of `state`.
AccessList accesses_of(const cpu::CpuState& state, const GuestInstruction& instruction);
/// Whether an access raises #GP for its address alone.
bool misaligned_for(const GuestInstruction& instruction, const MemoryAccess& access);

}  // namespace lockstep::translate
