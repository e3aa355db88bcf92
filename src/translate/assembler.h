// SPDX-License-Identifier: Apache-2.0
// The emitter of host instructions: just the forms that the translator's own sequences use. Guest
// instructions are re-encoded by encode.h on top of it.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>

namespace lockstep::translate {

/// Host general registers, by their encoding.
enum HostReg : uint8_t {
    kHostRax,
    kHostRcx,
    kHostRdx,
    kHostRbx,
    kHostRsp,
    kHostRbp,
    kHostRsi,
    kHostRdi,
    kHostR8,
    kHostR9,
    kHostR10,
    kHostR11,
    kHostR12,
    kHostR13,
    kHostR14,
    kHostR15,
    kNoReg = 0xff,
};

/// A host memory operand: [base + index * scale + disp], scale 1, 2, 4 or 8.
struct HostMem {
    HostReg base = kNoReg;
    HostReg index = kNoReg;
    uint8_t scale = 1;
    int32_t disp = 0;
};

/// Condition codes, by their encoding in Jcc.
enum Condition : uint8_t {
    kOverflow = 0,
    kBelow = 2,
    kAboveEqual = 3,
    kEqual = 4,
    kNotEqual = 5,
    kBelowEqual = 6,
    kAbove = 7,
    kSign = 8,
    kNotSign = 9
};

/// A place of a 32-bit relative displacement that is still to be filled in.
using Fixup = uint8_t*;

class Assembler {
  public:
    Assembler(uint8_t* at, uint8_t* end) : at_(at), end_(end) {}

    uint8_t* here() const { return at_; }
    size_t room() const { return static_cast<size_t>(end_ - at_); }

    void byte(uint8_t value) { *at_++ = value; }
    void u32(uint32_t value) { put(value); }
    void u64(uint64_t value) { put(value); }
    void bytes(std::span<const uint8_t> values) {
        std::memcpy(at_, values.data(), values.size());
        at_ += values.size();
    }

    /// ModRM, SIB and displacement for `reg` and a memory operand. REX is the caller's.
    void modrm_mem(uint8_t reg, const HostMem& mem);
    void modrm_reg(uint8_t reg, uint8_t rm) { byte(static_cast<uint8_t>(0xc0 | (reg & 7) << 3 | (rm & 7))); }
    /// REX for a register and a memory operand; `wide` sets REX.W. Omitted when empty.
    void rex_mem(bool wide, uint8_t reg, const HostMem& mem, bool force = false);
    void rex_reg(bool wide, uint8_t reg, uint8_t rm, bool force = false);

    void mov(HostReg to, HostReg from);
    void mov32(HostReg to, HostReg from);
    void mov16(HostReg to, HostReg from);
    /// Shortest form of a 64-bit constant; flags are kept.
    void mov_imm(HostReg to, uint64_t value);
    /// The form that holds any constant: its 64 bits come last.
    void mov_imm64(HostReg to, uint64_t value);
    void load(HostReg to, const HostMem& from);
    void store(const HostMem& to, HostReg from);
    void store32(const HostMem& to, HostReg from);
    /// MOV qword [mem], simm32
    void store_imm(const HostMem& to, int32_t value);
    /// The low byte of RAX, RCX, RDX or RBX.
    void store8(const HostMem& to, HostReg from);
    /// MOV byte [mem], imm8
    void store8_imm(const HostMem& to, uint8_t value);
    void cmp8_mem_imm(const HostMem& a, uint8_t value);
    void cmp16_mem_imm(const HostMem& a, uint8_t value);
    /// The upper half of YMM register `number` from memory, the lower one as it was; and to memory.
    void load_upper_half(uint8_t number, const HostMem& from);
    void store_upper_half(const HostMem& to, uint8_t number);
    void vzeroupper() { bytes(std::initializer_list<uint8_t>{0xc5, 0xf8, 0x77}); }
    /// RIP-relative load and store of 64 bits; `address` within 2 GiB of the code.
    void load_near(HostReg to, const void* address);
    void store_near(const void* address, HostReg from);
    void lea(HostReg to, const HostMem& from);
    void lea32(HostReg to, const HostMem& from);
    void rorx(HostReg to, HostReg from, uint8_t count);
    void movzx16(HostReg to, HostReg from);
    void movzx8(HostReg to, const HostMem& from);
    void movsxd(HostReg to, HostReg from);
    void movsx16(HostReg to, HostReg from);
    void add_imm(HostReg to, int32_t value);
    void add32(HostReg to, HostReg from);
    void and32(HostReg to, HostReg from);
    void and32_imm(HostReg to, int32_t value);
    void shl32_imm(HostReg to, uint8_t count);
    void shr32_imm(HostReg to, uint8_t count);
    void shr_imm(HostReg to, uint8_t count);
    void and32_mem(const HostMem& to, uint32_t value);
    void or32_mem(const HostMem& to, uint32_t value);
    void test32_mem(const HostMem& a, uint32_t value);
    void sub(HostReg to, HostReg from);
    /// [`high`, `low`] = RDX * `low`, the flags as they were.
    void mulx(HostReg high, HostReg low);
    /// MOVS or STOS (by `opcode`, of whatever element) of `size` bytes, with or without REP.
    void string_instruction(uint8_t opcode, uint8_t size, bool repeated);
    void cmp32_imm(HostReg to, int32_t value);
    void cmp(HostReg a, HostReg b);
    void cmp_mem(HostReg a, const HostMem& b);
    void cmp_imm(HostReg a, int32_t value);
    void test(HostReg a, HostReg b);
    void test8_imm(HostReg a, uint8_t value);
    void bextr(HostReg to, HostReg from, HostReg control);
    void shrx(HostReg to, HostReg from, HostReg count);
    void sarx(HostReg to, HostReg from, HostReg count);
    void lahf() { byte(0x9f); }
    void sahf() { byte(0x9e); }
    void seto_al() { bytes(std::initializer_list<uint8_t>{0x0f, 0x90, 0xc0}); }
    void add_al(uint8_t value) { byte(0x04), byte(value); }

    void push(HostReg reg);
    void push_imm(int32_t value);
    void pop(HostReg reg);
    void leave() { byte(0xc9); }

    /// JRCXZ back or forth by at most 127 bytes.
    void jrcxz_to(const uint8_t* target);
    Fixup jrcxz();
    /// JMP with an 8-bit displacement that bind_short() fills in.
    Fixup jmp_short();
    void bind_short(Fixup fixup);
    Fixup jcc(Condition condition);
    Fixup jmp();
    void jcc_to(Condition condition, const uint8_t* target) { bind(jcc(condition), target); }
    void jmp_to(const uint8_t* target) { bind(jmp(), target); }
    void jmp_mem(const HostMem& target);
    void jmp_reg(HostReg target);
    /// To the address that lies at `target`.
    void jmp_near(const void* target);
    static void bind(Fixup fixup, const uint8_t* target);
    /// Where a displacement that was bound leads.
    static const uint8_t* target_of(const uint8_t* fixup);
    void bind_here(Fixup fixup) { bind(fixup, at_); }

    void bytes(std::initializer_list<uint8_t> values) {
        bytes(std::span<const uint8_t>(values.begin(), values.size()));
    }

  private:
    void vex_0f3a_mem(uint8_t opcode, uint8_t number, uint8_t second, const HostMem& mem);
    void vex_0f38(uint8_t opcode, HostReg reg, HostReg rm, HostReg second, uint8_t prefix);
    template <typename T>
    void put(T value) {
        std::memcpy(at_, &value, sizeof value);
        at_ += sizeof value;
    }
    void op_mem(uint8_t opcode, bool wide, uint8_t reg, const HostMem& mem);
    void op_near(uint8_t opcode, HostReg reg, const void* address);

    uint8_t* at_;
    uint8_t* end_;
};

}  // namespace lockstep::translate
