// SPDX-License-Identifier: Apache-2.0
// A decoded guest instruction, with what the translator asks about it.
#pragma once

#include <Zydis/Zydis.h>

#include <cstdint>
#include <span>

#include "cpu/cpu_state.h"
#include "translate/mode.h"
#include "x86/features.h"

namespace lockstep::translate {

/// What is done with an instruction.
enum class Kind : uint8_t {
    kCopy,     ///< re-encoded and executed as it is; at most one explicit memory operand
    kNothing,  ///< no effect on a single vCPU: NOP, fences
    kLea,
    kPrefetch,
    kMoveOffset,  ///< MOV between the accumulator and a 64-bit absolute address
    kBitString,   ///< BT/BTS/BTR/BTC with memory and a register offset
    kPush,
    kPop,
    kCall,  ///< direct
    kCallIndirect,
    kJump,  ///< direct
    kJumpIndirect,
    kConditional,  ///< Jcc
    kLoop,         ///< LOOPcc, JrCXZ
    kReturn,
    kLeave,
    kInterpret,     ///< by cpu::interpret
    kInterpretFpu,  ///< the same, and it reads or writes the x87 or MXCSR state
    kUndefined,     ///< #UD
    kTooLong,       ///< more than 15 bytes: #GP
};

struct GuestInstruction {
    uint64_t pc = 0;
    Kind kind = Kind::kUndefined;
    cpu::CodeWidth width = cpu::CodeWidth::k64;
    uint8_t length = 0;
    x86::Component registers{};  ///< beside the general ones
    bool touches_flags = false;  ///< reads or changes any arithmetic flag
    uint8_t flags_read = 0;      ///< in the form of pack_flags()
    uint8_t flags_written = 0;   ///< certainly overwritten, with nothing of the former value
    const uint8_t* bytes = nullptr;
    ZydisDecodedInstruction decoded;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

    bool is_narrow() const { return width != cpu::CodeWidth::k64; }
    uint64_t next_pc() const { return is_narrow() ? static_cast<uint32_t>(pc + length) : pc + length; }
    /// x87, MMX, SSE or AVX.
    bool uses_fpu() const { return registers != x86::Component::kGeneral; }
    bool uses_avx() const { return registers == x86::Component::kAvx; }
    /// Whether it may be executed where these registers may be used.
    bool is_available(Vectors vectors) const {
        return !uses_fpu() || (uses_avx() ? vectors == Vectors::kAvx : vectors != Vectors::kNone);
    }
    /// Whether it may leave something in the upper half of a YMM register.
    bool fills_upper_halves() const;
    /// VZEROUPPER, VZEROALL.
    bool clears_upper_halves() const;
    bool ends_block() const { return kind >= Kind::kCall && kind != Kind::kLeave; }
    /// The one explicit operand in memory, or null. An address that is only reckoned (LEA) is none.
    const ZydisDecodedOperand* memory_operand() const;
    /// Whether an operand of `size` bytes in memory raises #GP where it is misaligned, before anything else
    /// (Intel SDM vol. 1, 11.3 and vol. 2, exception types): SSE instructions with 16 bytes, but for some, and aligned
    /// moves of AVX.
    bool requires_alignment(unsigned size) const;
    /// Whether the host's CPU raises that #GP by itself.
    bool is_aligned_move() const;
    /// The x87 registers, be it as MMX ones.
    bool uses_x87_registers() const;
    /// Of a store: whether it changes the x87 registers or MXCSR as well.
    bool stores_more_than_memory() const;
    /// Whether a pending x87 exception is raised by it, before anything else (Intel SDM vol. 1, 8.7).
    bool waits_for_x87() const;
    /// Target of a direct branch.
    uint64_t branch_target() const;
};

/// MOVS or STOS as compilers use them: with or without REP, 64-bit addresses, no segment.
bool is_plain_string(const GuestInstruction& instruction);

/// The six arithmetic flags as bits: CF PF AF ZF SF OF.
inline constexpr uint8_t kAllFlags = 0x3f;
uint8_t pack_flags(uint32_t rflags_mask);
uint64_t unpack_flags(uint8_t packed);

/// Decodes the instruction at `bytes`, of which `bytes.size()` may be read. False: it needs more bytes than
/// there are (it runs over the page's end). What is no instruction is decoded as kUndefined or
/// kTooLong.
bool decode(std::span<const uint8_t> bytes, uint64_t pc, GuestInstruction& out,
            cpu::CodeWidth width = cpu::CodeWidth::k64);

}  // namespace lockstep::translate
