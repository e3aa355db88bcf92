// SPDX-License-Identifier: Apache-2.0
#include "translate/assembler.h"

#include "base/check.h"

namespace lockstep::translate {

namespace {

constexpr uint8_t bit3(uint8_t reg) { return reg == kNoReg ? 0 : reg >> 3 & 1; }

uint8_t scale_bits(uint8_t scale) { return scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0; }

}  // namespace

void Assembler::modrm_mem(uint8_t reg, const HostMem& mem) {
    uint8_t reg_bits = static_cast<uint8_t>((reg & 7) << 3);
    if (mem.base == kNoReg) {  // [index * scale + disp32] or [disp32]
        byte(reg_bits | 4);
        uint8_t index = mem.index == kNoReg ? 4 : mem.index & 7;
        byte(static_cast<uint8_t>(scale_bits(mem.scale) << 6 | index << 3 | 5));
        u32(static_cast<uint32_t>(mem.disp));
        return;
    }
    bool sib = mem.index != kNoReg || (mem.base & 7) == 4;
    uint8_t mode = mem.disp == 0 && (mem.base & 7) != 5 ? 0 : mem.disp >= -128 && mem.disp <= 127 ? 1 : 2;
    byte(static_cast<uint8_t>(mode << 6 | reg_bits | (sib ? 4 : mem.base & 7)));
    if (sib) {
        uint8_t index = mem.index == kNoReg ? 4 : mem.index & 7;
        byte(static_cast<uint8_t>(scale_bits(mem.scale) << 6 | index << 3 | (mem.base & 7)));
    }
    if (mode == 1) byte(static_cast<uint8_t>(mem.disp));
    if (mode == 2) u32(static_cast<uint32_t>(mem.disp));
}

void Assembler::rex_mem(bool wide, uint8_t reg, const HostMem& mem, bool force) {
    uint8_t rex =
        static_cast<uint8_t>(0x40 | wide << 3 | bit3(reg) << 2 | bit3(mem.index) << 1 | bit3(mem.base));
    if (rex != 0x40 || force) byte(rex);
}

void Assembler::rex_reg(bool wide, uint8_t reg, uint8_t rm, bool force) {
    uint8_t rex = static_cast<uint8_t>(0x40 | wide << 3 | bit3(reg) << 2 | bit3(rm));
    if (rex != 0x40 || force) byte(rex);
}

void Assembler::op_mem(uint8_t opcode, bool wide, uint8_t reg, const HostMem& mem) {
    rex_mem(wide, reg, mem);
    byte(opcode);
    modrm_mem(reg, mem);
}

void Assembler::op_near(uint8_t opcode, HostReg reg, const void* address) {
    rex_reg(true, reg, 0);
    byte(opcode);
    byte(static_cast<uint8_t>((reg & 7) << 3 | 5));
    int64_t distance = static_cast<const uint8_t*>(address) - (at_ + 4);
    CHECK(distance == static_cast<int32_t>(distance));
    u32(static_cast<uint32_t>(distance));
}

void Assembler::mov(HostReg to, HostReg from) {
    if (to == from) return;
    rex_reg(true, from, to), byte(0x89), modrm_reg(from, to);
}
void Assembler::mov32(HostReg to, HostReg from) { rex_reg(false, from, to), byte(0x89), modrm_reg(from, to); }
void Assembler::mov16(HostReg to, HostReg from) {
    byte(0x66);
    mov32(to, from);
}

void Assembler::mov_imm(HostReg to, uint64_t value) {
    if (value == static_cast<uint32_t>(value)) {
        rex_reg(false, 0, to), byte(static_cast<uint8_t>(0xb8 | (to & 7))), u32(static_cast<uint32_t>(value));
    } else if (static_cast<int64_t>(value) == static_cast<int32_t>(value)) {
        rex_reg(true, 0, to), byte(0xc7), modrm_reg(0, to), u32(static_cast<uint32_t>(value));
    } else {
        mov_imm64(to, value);
    }
}
void Assembler::mov_imm64(HostReg to, uint64_t value) {
    rex_reg(true, 0, to), byte(static_cast<uint8_t>(0xb8 | (to & 7))), u64(value);
}

void Assembler::load(HostReg to, const HostMem& from) { op_mem(0x8b, true, to, from); }
void Assembler::store(const HostMem& to, HostReg from) { op_mem(0x89, true, from, to); }
void Assembler::cmp_mem(HostReg a, const HostMem& b) { op_mem(0x3b, true, a, b); }
void Assembler::store32(const HostMem& to, HostReg from) { op_mem(0x89, false, from, to); }
void Assembler::store_imm(const HostMem& to, int32_t value) {
    op_mem(0xc7, true, 0, to);
    u32(static_cast<uint32_t>(value));
}
void Assembler::store8(const HostMem& to, HostReg from) { op_mem(0x88, false, from, to); }
void Assembler::store8_imm(const HostMem& to, uint8_t value) {
    op_mem(0xc6, false, 0, to);
    byte(value);
}
void Assembler::cmp8_mem_imm(const HostMem& a, uint8_t value) {
    op_mem(0x80, false, 7, a);
    byte(value);
}
void Assembler::cmp16_mem_imm(const HostMem& a, uint8_t value) {
    byte(0x66);
    op_mem(0x83, false, 7, a);
    byte(value);
}
// VEX.256.66.0F3A with a YMM register and 128 bits of memory; the immediate 1 names the upper half.
void Assembler::vex_0f3a_mem(uint8_t opcode, uint8_t number, uint8_t second, const HostMem& mem) {
    byte(0xc4);
    byte(static_cast<uint8_t>((number & 8 ? 0 : 0x80) | (bit3(mem.index) ? 0 : 0x40) |
                              (bit3(mem.base) ? 0 : 0x20) | 3));
    byte(static_cast<uint8_t>((~second & 15) << 3 | 4 | 1));
    byte(opcode);
    modrm_mem(number, mem);
    byte(1);
}
void Assembler::load_upper_half(uint8_t number, const HostMem& from) {
    vex_0f3a_mem(0x18, number, number, from);
}
void Assembler::store_upper_half(const HostMem& to, uint8_t number) { vex_0f3a_mem(0x19, number, 0, to); }
void Assembler::load_near(HostReg to, const void* address) { op_near(0x8b, to, address); }
void Assembler::store_near(const void* address, HostReg from) { op_near(0x89, from, address); }
void Assembler::jmp_near(const void* target) {
    byte(0xff), byte(0x25);
    u32(static_cast<uint32_t>(static_cast<const uint8_t*>(target) - (here() + 4)));
}
void Assembler::lea(HostReg to, const HostMem& from) { op_mem(0x8d, true, to, from); }
void Assembler::lea32(HostReg to, const HostMem& from) { op_mem(0x8d, false, to, from); }
void Assembler::movzx16(HostReg to, HostReg from) {
    rex_reg(false, to, from), bytes({0x0f, 0xb7}), modrm_reg(to, from);
}
void Assembler::movzx8(HostReg to, const HostMem& from) {
    rex_mem(false, to, from), bytes({0x0f, 0xb6}), modrm_mem(to, from);
}
void Assembler::movsxd(HostReg to, HostReg from) { rex_reg(true, to, from), byte(0x63), modrm_reg(to, from); }
void Assembler::movsx16(HostReg to, HostReg from) {
    rex_reg(true, to, from), bytes({0x0f, 0xbf}), modrm_reg(to, from);
}

void Assembler::add_imm(HostReg to, int32_t value) {
    rex_reg(true, 0, to);
    if (value >= -128 && value <= 127) {
        byte(0x83), modrm_reg(0, to), byte(static_cast<uint8_t>(value));
    } else {
        byte(0x81), modrm_reg(0, to), u32(static_cast<uint32_t>(value));
    }
}
void Assembler::add32(HostReg to, HostReg from) { rex_reg(false, from, to), byte(0x01), modrm_reg(from, to); }
void Assembler::and32(HostReg to, HostReg from) { rex_reg(false, from, to), byte(0x21), modrm_reg(from, to); }
void Assembler::and32_imm(HostReg to, int32_t value) {
    rex_reg(false, 0, to), byte(0x81), modrm_reg(4, to), u32(static_cast<uint32_t>(value));
}
void Assembler::shl32_imm(HostReg to, uint8_t count) {
    rex_reg(false, 0, to), byte(0xc1), modrm_reg(4, to), byte(count);
}
void Assembler::shr32_imm(HostReg to, uint8_t count) {
    rex_reg(false, 0, to), byte(0xc1), modrm_reg(5, to), byte(count);
}
void Assembler::shr_imm(HostReg to, uint8_t count) {
    rex_reg(true, 0, to), byte(0xc1), modrm_reg(5, to), byte(count);
}
void Assembler::and32_mem(const HostMem& to, uint32_t value) { op_mem(0x81, false, 4, to), u32(value); }
void Assembler::or32_mem(const HostMem& to, uint32_t value) { op_mem(0x81, false, 1, to), u32(value); }
void Assembler::test32_mem(const HostMem& a, uint32_t value) { op_mem(0xf7, false, 0, a), u32(value); }
void Assembler::sub(HostReg to, HostReg from) { rex_reg(true, from, to), byte(0x29), modrm_reg(from, to); }
void Assembler::string_instruction(uint8_t opcode, uint8_t size, bool repeated) {
    if (repeated) byte(0xf3);
    if (size == 2) byte(0x66);
    if (size == 8) byte(0x48);
    byte(opcode);
}
void Assembler::cmp32_imm(HostReg to, int32_t value) {
    rex_reg(false, 0, to), byte(0x81), modrm_reg(7, to), u32(static_cast<uint32_t>(value));
}
void Assembler::cmp(HostReg a, HostReg b) { rex_reg(true, b, a), byte(0x39), modrm_reg(b, a); }
void Assembler::cmp_imm(HostReg a, int32_t value) {
    rex_reg(true, 0, a), byte(0x81), modrm_reg(7, a), u32(static_cast<uint32_t>(value));
}
void Assembler::test(HostReg a, HostReg b) { rex_reg(true, b, a), byte(0x85), modrm_reg(b, a); }
void Assembler::test8_imm(HostReg a, uint8_t value) {
    rex_reg(false, 0, a, true), byte(0xf6), modrm_reg(0, a), byte(value);
}

// BMI instructions of 64 bits; VEX.pp tells those of the same opcode apart.
void Assembler::vex_0f38(uint8_t opcode, HostReg reg, HostReg rm, HostReg second, uint8_t prefix) {
    byte(0xc4);
    byte(static_cast<uint8_t>((bit3(reg) ? 0 : 0x80) | 0x40 | (bit3(rm) ? 0 : 0x20) | 0x02));
    byte(static_cast<uint8_t>(0x80 | (~second & 15) << 3 | prefix));
    byte(opcode);
    modrm_reg(reg, rm);
}
void Assembler::bextr(HostReg to, HostReg from, HostReg control) { vex_0f38(0xf7, to, from, control, 0); }
void Assembler::sarx(HostReg to, HostReg from, HostReg count) { vex_0f38(0xf7, to, from, count, 2); }
void Assembler::shrx(HostReg to, HostReg from, HostReg count) { vex_0f38(0xf7, to, from, count, 3); }
void Assembler::mulx(HostReg high, HostReg low) { vex_0f38(0xf6, high, low, low, 3); }

void Assembler::rorx(HostReg to, HostReg from, uint8_t count) {
    byte(0xc4);
    byte(static_cast<uint8_t>((bit3(to) ? 0 : 0x80) | 0x40 | (bit3(from) ? 0 : 0x20) | 0x03));
    byte(0xfb);  // W, no second source, F2
    byte(0xf0);
    modrm_reg(to, from);
    byte(count);
}

Fixup Assembler::jmp_short() {
    byte(0xeb), byte(0);
    return at_ - 1;
}
void Assembler::bind_short(Fixup fixup) {
    int64_t distance = at_ - (fixup + 1);
    CHECK(distance >= 0 && distance <= 127);
    *fixup = static_cast<uint8_t>(distance);
}
Fixup Assembler::jcc(Condition condition) {
    byte(0x0f), byte(static_cast<uint8_t>(0x80 | condition));
    u32(0);
    return at_ - 4;
}
void Assembler::push(HostReg reg) { rex_reg(false, 0, reg), byte(static_cast<uint8_t>(0x50 | (reg & 7))); }
void Assembler::push_imm(int32_t value) {
    byte(0x68);
    u32(static_cast<uint32_t>(value));
}
void Assembler::pop(HostReg reg) { rex_reg(false, 0, reg), byte(static_cast<uint8_t>(0x58 | (reg & 7))); }
void Assembler::jrcxz_to(const uint8_t* target) {
    ptrdiff_t distance = target - (at_ + 2);
    CHECK(distance == static_cast<int8_t>(distance), "a JRCXZ over {} bytes", distance);
    bytes({0xe3, static_cast<uint8_t>(distance)});
}
Fixup Assembler::jrcxz() {
    bytes({0xe3, 0});
    return at_ - 1;
}
Fixup Assembler::jmp() {
    byte(0xe9);
    u32(0);
    return at_ - 4;
}
void Assembler::jmp_mem(const HostMem& target) {
    rex_mem(false, 4, target);
    byte(0xff);
    modrm_mem(4, target);
}
void Assembler::jmp_reg(HostReg target) {
    rex_reg(false, 4, target);
    byte(0xff);
    modrm_reg(4, target);
}
void Assembler::bind(Fixup fixup, const uint8_t* target) {
    int64_t distance = target - (fixup + 4);
    CHECK(distance == static_cast<int32_t>(distance));
    int32_t value = static_cast<int32_t>(distance);
    std::memcpy(fixup, &value, sizeof value);
}
const uint8_t* Assembler::target_of(const uint8_t* fixup) {
    int32_t distance;
    std::memcpy(&distance, fixup, sizeof distance);
    return fixup + 4 + distance;
}

}  // namespace lockstep::translate
