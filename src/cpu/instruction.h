// SPDX-License-Identifier: Apache-2.0
// A decoded instruction of the interpreter, ready to execute any number of times.
//
// The translator may decode() when it makes a block, keep the Instruction beside the block, and call
// execute() with it: no bytes are fetched and nothing is decoded then. interpret() does the same through a
// small cache.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "cpu/cpu_state.h"
#include "cpu/interpreted_counts.h"

namespace lockstep::cpu {

struct Cpu;
struct Instruction;
enum class StepResult : uint8_t;

/// What a handler did. On kFault the state is that before the instruction, but for the progress of a string
/// instruction and the MMX state that MASKMOVQ enters.
enum class Outcome : uint8_t {
    kNext,    ///< go on behind the instruction
    kJumped,  ///< the handler has set rip
    kAgain,   ///< a piece of a long REP: it counts as an instruction, rip stays
    kHalted,  ///< HLT
    kFault,
};
using Handler = Outcome (*)(Cpu& cpu, const Instruction& instruction, Exception& exception);

enum class OperandKind : uint8_t {
    kNone,
    kRegister,
    kSegment,
    kControl,
    kDebug,
    kMemory,
    kImmediate,
    kFarPointer
};
enum class Repeat : uint8_t { kNone, kEqual /* REP, REPE */, kNotEqual };

struct Operand {
    OperandKind kind = OperandKind::kNone;
    uint8_t number = 0;  ///< of the register
    uint8_t size = 0;    ///< bytes
};

inline constexpr uint8_t kNoRegister = 0xff;

struct Instruction {
    Handler handler = nullptr;
    uint8_t length = 0;
    CodeWidth width = CodeWidth::k64;
    uint8_t operand_size = 0;  ///< bytes: 1, 2, 4, 8
    uint8_t address_size = 0;  ///< bytes: 2, 4, 8
    Repeat repeat = Repeat::kNone;
    uint8_t opcode = 0;            ///< last opcode byte
    uint8_t opcode_extension = 0;  ///< ModRM.reg
    /// Continues behind itself (or faults, or stays for another piece of a REP), with privilege, code mapping
    /// and IF, TF and interrupt shadow as before: a block may go on after it.
    bool sequential = false;
    std::array<Operand, 3> operands{};  ///< as written, without hidden ones

    // The memory operand
    uint8_t base = kNoRegister;
    uint8_t index = kNoRegister;
    uint8_t scale = 1;
    bool rip_relative = false;
    bool stack_segment = false;  ///< in 64-bit code: non-canonical addresses raise #SS rather than #GP
    /// Of the operand, and of the source of a string instruction. In 64-bit code kFs or kGs, where the base is added.
    uint8_t segment = kNoRegister;
    int64_t displacement = 0;

    // AVX
    uint8_t vector_size = 0;             ///< bytes, by VEX.L
    uint8_t vector_index = kNoRegister;  ///< of the memory operand, in place of `index`

    InstructionKind kind = 0;  ///< to be counted by

    uint64_t immediate = 0, immediate2 = 0;
};

/// False: not a whole valid instruction within `size` bytes, or not one of the interpreter's.
bool decode(const uint8_t* bytes, size_t size, Instruction& out, CodeWidth width = CodeWidth::k64);

/// Executes a decoded instruction at state.rip; see interpret() in cpu.h.
StepResult execute(Cpu& cpu, const Instruction& instruction, Exception& exception);

/// Finds decoded instructions again by their bytes. Holds nothing that the guest could see.
class DecodeCache {
  public:
    DecodeCache();
    ~DecodeCache();
    /// The instruction that the first `size` of `bytes` begin with, or null. 16 bytes can be read there;
    /// `rip` says only where to look.
    const Instruction* find(uint64_t rip, const uint8_t* bytes, size_t size, CodeWidth width) const {
        const Slot& found = slot(rip);
        std::array<uint64_t, 2> words;
        std::memcpy(words.data(), bytes, 16);
        bool same = ((words[0] ^ found.bytes[0]) & found.mask[0]) == 0 &&
                    ((words[1] ^ found.bytes[1]) & found.mask[1]) == 0;
        bool whole = found.instruction.handler && found.instruction.length <= size;
        return same && whole && found.instruction.width == width ? &found.instruction : nullptr;
    }
    const Instruction* insert(uint64_t rip, const uint8_t* bytes, const Instruction& instruction);

  private:
    static constexpr size_t kSlots = 1024;
    struct alignas(64) Slot {
        std::array<uint64_t, 2> bytes{};
        std::array<uint64_t, 2> mask{};  ///< ones for the bytes of the instruction
        Instruction instruction;
    };
    Slot& slot(uint64_t rip) const { return slots_[(rip ^ rip >> 10) % kSlots]; }
    std::unique_ptr<Slot[]> slots_;
};

}  // namespace lockstep::cpu
