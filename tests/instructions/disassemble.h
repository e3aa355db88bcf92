// SPDX-License-Identifier: Apache-2.0
// What Zydis knows of an instruction: an opinion that doesn't come from the translator.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "sandbox.h"

namespace lockstep::instructions {

struct Disassembly {
    unsigned length = 0;
    std::string text;  ///< only by disassemble()
    std::string mnemonic;
    std::string extension;                 ///< of the instruction set, as Zydis names it
    bool uses_mmx = false;                 ///< has an MMX register
    bool string = false;                   ///< a string instruction
    bool repeated_comparison = false;      ///< CMPS or SCAS with a prefix
    bool narrow = false;                   ///< addresses of half the code's width
    bool depends_on_the_maker = false;     ///< AMD's CPUs and Intel's read it otherwise
    bool read_otherwise_by_intel = false;  ///< the engine reads it as AMD's CPUs do
    bool segment_base = false;             ///< by FS or GS
    unsigned memory_bytes = 0;             ///< of its memory operand
    uint32_t explicit_writes = 0;          ///< general registers written through operands, a bit each
    uint32_t hidden_writes = 0;            ///< and implicitly
};

/// The instruction at `at`; empty where the bytes are none.
std::optional<Disassembly> decode(ByteSpan bytes, uint64_t at);
/// The same with `text`.
std::optional<Disassembly> disassemble(ByteSpan bytes, uint64_t at);
/// The instruction at `at` of the sandbox's contents; `narrow_code`: as 32-bit code.
std::optional<Disassembly> decode_in(const Image& image, uint64_t at, bool narrow_code);

/// The code of a case, an instruction a line.
std::string listing(const Case& test_case);

}  // namespace lockstep::instructions
