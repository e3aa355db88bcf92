// SPDX-License-Identifier: Apache-2.0
// The table of instruction forms: which encodings the tests generate.
//
// A row is written as in the opcode maps of the Intel SDM (vol. 2, appendix A):
//
//     names      the mnemonics that the row stands for; the n-th one adds n times the step of the encoding
//     encoding   [mandatory prefix] [W] opcode bytes [/digit or a fixed ModRM byte]; "+8" after one: the step
//                VEX.<pp>.<map> in place of prefix and map, of general registers; of vectors AVX (either length), AVX128,
//                AVX256 or AVXS (scalars, of whatever length)
//                fp, fp2, fp1: four rows (ps pd ss sd), two (ps pd), two (ps ss)
//                mx: one row for MMX, one for SSE; vfp, vfp2: as fp and fp2, for AVX
//     operands   E rm: register or memory; G reg: register; M memory; R rm: register; B VEX.vvvv
//                V W U, P Q N: the same for XMM, MMX (reg; rm; rm as register only); H VEX.vvvv of a vector, L one in
//                the immediate, Y memory by a vector of indices
//                Z register in the opcode; I immediate; J branch target; O absolute address; S segment register
//                sizes: b 1, w 2, d 4, q 8, t 10, o 16 bytes; x the vector's, h f e a half, fourth, eighth of it; v 2/4/8, y 4/8, s 2/8 (stack), z immediate of 2/4
//                AL, rAX, CL, 1: implied; STi: x87 register in the ModRM byte
//     undefined  flags that the manual leaves undefined: C P A Z S O
//     tags       what the generator must know, see Tag
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::instructions {

/// One letter each in a row's `tags`.
enum Tag : char {
    kTagLock = 'L',       ///< LOCK is allowed with a memory operand
    kTagString = 'S',     ///< a string instruction: RSI, RDI, RCX
    kTagDivide = 'D',     ///< RDX:RAX is divided
    kTagBitOffset = 'B',  ///< the register operand is a bit offset into memory
    kTagStack = 'K',      ///< pushes or pops
    kTagCompare = 'X',    ///< compares RAX with the destination
    kTagMaskMove = 'M',   ///< writes to [RDI]
    kTagTable = 'T',      ///< reads [RBX + AL]
    kTagBranch = 'J',     ///< changes the flow of control
    kTagReturn = 'R',     ///< takes the target from the stack
    kTagFrame = 'E',      ///< ENTER, LEAVE: RBP points to the stack
    kTagStepFlag = 'F',   ///< reads or writes the trap flag, so can't be single-stepped unseen
    kTagFaults = '!',     ///< always raises an exception: not in sequences
    kTagFloat = 'f',      ///< likes floating-point values
    kTagImage = 'I',      ///< FXSAVE, FXRSTOR: 512 bytes
    kTagAlone = 'a',      ///< not in sequences
    kTagGather = 'g',     ///< VGATHER: indices in a vector
};

struct FormRow {
    std::string_view names;
    std::string_view encoding;
    std::string_view operands;
    std::string_view undefined = "";
    std::string_view tags = "";
};

enum class Group : uint8_t { kInteger, kVector, kX87, kSystem };
inline constexpr unsigned kGroups = 4;

/// What VEX.L says.
enum class VectorLength : uint8_t { kNone, k128, k256, kEither, kScalar };

std::span<const FormRow> integer_rows();
std::span<const FormRow> vector_rows();
std::span<const FormRow> avx_rows();
std::span<const FormRow> x87_rows();
std::span<const FormRow> system_rows();

enum class OpcodeMap : uint8_t { kOneByte, k0F, k0F38, k0F3A };

struct Operand {
    char kind;  ///< as in the table; 'a' AL/rAX, 'c' CL, '1', 'i' STi
    char size;
};

/// One encoding, out of a row.
struct Form {
    std::string name;  ///< "add Ev,Gv"
    Group group{};
    uint8_t prefix = 0;  ///< 0x66, 0xf2, 0xf3 or 0
    bool vex = false;
    VectorLength length{};  ///< of AVX forms
    bool wide = false;      ///< REX.W is part of the opcode
    OpcodeMap map{};
    uint8_t opcode = 0;
    int digit = -1;
    int fixed_modrm = -1;
    std::vector<Operand> operands;
    uint64_t undefined_flags = 0;
    std::string tags;

    bool has(Tag tag) const { return tags.find(tag) != std::string::npos; }
    /// The operand in the rm field, or null.
    const Operand* rm() const;
};

/// Every form that this host has, in the order of the tables.
const std::vector<Form>& forms();

}  // namespace lockstep::instructions
