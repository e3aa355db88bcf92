// SPDX-License-Identifier: Apache-2.0
// From a form and a choice of operands to bytes.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "forms.h"
#include "random.h"

namespace lockstep::instructions {

/// How a memory operand is addressed. Register numbers as in cpu::Gpr; -1: none.
struct MemoryShape {
    int base = -1;
    int index = -1;
    unsigned scale = 0;  ///< log2
    bool rip_relative = false;
    unsigned displacement_size = 4;  ///< bytes: 0, 1 or 4; raised where the encoding needs one
    uint8_t segment_prefix = 0;      ///< 0x64, 0x65, or one that 64-bit mode ignores; 0: none
    bool address32 = false;          ///< prefix 0x67
    bool vector_index = false;       ///< `index` is a vector register
};

/// What the caller wants; everything else is drawn at random.
struct Choices {
    bool memory = false;  ///< the rm operand is memory, addressed by `shape`
    MemoryShape shape;
    bool lock = false;
    uint8_t repeat = 0;        ///< 0xf2, 0xf3: an extra prefix (REP, or one that is ignored)
    int8_t displacement8 = 0;  ///< the value of a one-byte displacement
};

/// An instruction. A displacement of 4 bytes and a branch offset are still zero.
struct Encoded {
    Bytes bytes;
    unsigned operand_size = 4;  ///< of its v, y and s operands, in bytes
    bool memory = false;
    MemoryShape shape;         ///< as encoded
    unsigned memory_size = 0;  ///< bytes
    size_t displacement_at = 0;
    size_t branch_at = 0;
    unsigned branch_size = 0;
    int rm_register = -1;       ///< of an rm operand that is a register
    int register_operand = -1;  ///< of a G, B or Z operand, the last one
    bool whole_vector = false;  ///< VEX.L

    /// Sets a little-endian number inside the bytes.
    void set(size_t at, unsigned size, uint64_t value) {
        for (unsigned i = 0; i < size; ++i) bytes[at + i] = static_cast<uint8_t>(value >> 8 * i);
    }
};

Encoded assemble(const Form& form, const Choices& choices, Random& random);

/// A number that arithmetic finds interesting, of up to `bytes` bytes.
uint64_t interesting_number(Random& random, unsigned bytes = 8);

}  // namespace lockstep::instructions
