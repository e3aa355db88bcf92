// SPDX-License-Identifier: Apache-2.0
// 32-bit code: a case begins in 64-bit code, which loads DS and ES and jumps into the segment of 32-bit programs.
//
//     kPrologue  mov ds, [..] ; mov es, [..] ; jmp far [..]
//     kCode      1 to 4 instructions, then nothing but INT3
//
// Encodings are drawn from the opcode maps, operands from the whole of ModRM and SIB; registers mostly hold addresses of
// the sandbox. Branches lead forward, behind the last instruction. What leaves undefined flags is the last one.
#include <algorithm>

#include "generate.h"
#include "generate_parts.h"
#include "oracle_native.h"

namespace lockstep::instructions {

namespace {

constexpr uint64_t kPrologue = kWritableCode + 0x800, kPointers = kWritableCode + 0x900;
constexpr uint16_t kNarrowCode = 0x23, kFlatData = 0x2b;
constexpr uint8_t kBreakpoint = 0xcc;
constexpr size_t kCodeSize = 400;

/// Opcode bytes, then how they go on: M a ModRM of any kind, m one with memory, digits the ModRM.reg to draw from; b an
/// immediate byte, z one of the operand's size, w one of two bytes, o an address, j a short branch, J a near one. A row
/// that stands twice is drawn twice as often.
struct Row {
    std::string_view opcode;  ///< in hexadecimal; "+n": one of the n opcodes from there on
    std::string_view rest;
    std::string_view digits = "";
    uint64_t undefined_flags = 0;  ///< of those that the engine computes by itself
};

constexpr uint64_t kAscii = cpu::kFlagOf | cpu::kFlagSf | cpu::kFlagZf | cpu::kFlagPf;
constexpr uint64_t kDivided = cpu::kFlagOf | cpu::kFlagAf | cpu::kFlagCf;

constexpr Row kRows[] = {
    {"00+4", "M"},
    {"08+4", "M"},
    {"10+4", "M"},
    {"18+4", "M"},
    {"20+4", "M"},
    {"28+4", "M"},
    {"30+4", "M"},
    {"38+4", "M"},
    {"04", "b"},
    {"05", "z"},
    {"2c", "b"},
    {"2d", "z"},
    {"3c", "b"},
    {"3d", "z"},
    {"27", "", "", cpu::kFlagOf},
    {"2f", "", "", cpu::kFlagOf},
    {"37", "", "", kAscii},
    {"3f", "", "", kAscii},
    {"40+16", ""},
    {"40+16", ""},
    {"50+16", ""},
    {"50+16", ""},
    {"60+2", ""},
    {"62", "m"},
    {"63", "M"},
    {"68", "z"},
    {"69", "Mz"},
    {"6a", "b"},
    {"6b", "Mb"},
    {"70+16", "j"},
    {"80", "Mb", "01234567"},
    {"81", "Mz", "01234567"},
    {"82", "Mb", "01234567"},
    {"83", "Mb", "01234567"},
    {"84+4", "M"},
    {"88+4", "M"},
    {"88+4", "M"},
    {"8d", "m"},
    {"8f", "M", "0"},
    {"90+8", ""},
    {"98+2", ""},
    {"9c", ""},
    {"9e+2", ""},
    {"a0+4", "o"},
    {"a4+4", ""},
    {"a8", "b"},
    {"a9", "z"},
    {"aa+6", ""},
    {"b0+8", "b"},
    {"b8+8", "z"},
    {"c0+2", "Mb", "01234567"},
    {"c6", "Mb", "0"},
    {"c7", "Mz", "0"},
    {"c8", "wn"},
    {"c9", ""},
    {"d0+4", "M", "01234567"},
    {"d4", "b", "", kDivided},
    {"d5", "b", "", kDivided},
    {"d6", ""},
    {"d7", ""},
    {"d8", "m"},
    {"d9", "m", "02357"},
    {"da", "m"},
    {"db", "m", "0123"},
    {"dc", "m"},
    {"dd", "m", "0123"},
    {"de", "m"},
    {"df", "m", "01235"},
    {"e0+4", "j"},
    {"e8+2", "J"},
    {"eb", "j"},
    {"f5", ""},
    {"f6", "M", "234567"},
    {"f7", "M", "234567"},
    {"f8+2", ""},
    {"fc+2", ""},
    {"fe", "M", "01"},
    {"ff", "M", "016"},
    {"ff", "M", "016"},
    {"0f10+2", "M"},
    {"0f28+2", "M"},
    {"0f40+16", "M"},
    {"0f54+4", "M"},
    {"0f58+2", "M"},
    {"0f6f", "M"},
    {"0f7f", "M"},
    {"0f80+16", "J"},
    {"0f90+16", "M", "0"},
    {"0fa3", "M"},
    {"0fa4", "Mb"},
    {"0fa5", "M"},
    {"0fab", "M"},
    {"0fac", "Mb"},
    {"0fad", "M"},
    {"0faf", "M"},
    {"0fb0+2", "M"},
    {"0fb3", "M"},
    {"0fb6+2", "M"},
    {"0fba", "Mb", "4567"},
    {"0fbb+5", "M"},
    {"0fc0+2", "M"},
    {"0fc7", "m", "1"},
    {"0fc8+8", ""},
    {"0fd4", "M"},
    {"0fef", "M"},
    {"0ffe", "M"},
};

/// Of AVX and BMI; where VEX.W means 64 bits elsewhere it means nothing here.
constexpr Row kVexRows[] = {
    {"c5fdfe", "M"},    {"c5f158", "M"},    {"c5fd6f", "M"},   {"c5fe6f", "M"},   {"c5fe7f", "M"},
    {"c5fd7f", "M"},    {"c4e1f96e", "M"},  {"c4e1f97e", "M"}, {"c4e1f32a", "M"}, {"c4e1fb2c", "M"},
    {"c4e2f0f2", "M"},  {"c4e26d90", "m"},  {"c4e2752c", "m"}, {"c4e2752e", "m"}, {"c4e3714a", "Mb"},
    {"c4e3f916", "Mb"}, {"c4e3f122", "Mb"}, {"c5f877", ""},    {"c5fc77", ""},    {"c4e2f198", "M"},
    {"c5f9f7", "M"},    {"c4e27d18", "M"},  {"c5fe10", "M"},   {"c5f9d6", "M"},
};
constexpr std::array<uint8_t, 14> kPrefixes{0x66, 0x66, 0x66, 0x66, 0x67, 0xf2, 0xf3,
                                            0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0xf3};

unsigned hex(char digit) { return static_cast<unsigned>(digit <= '9' ? digit - '0' : digit - 'a' + 10); }

class NarrowCase {
  public:
    explicit NarrowCase(uint64_t seed) : random_(seed * 0x2545f4914f6cdd1d + 99) {
        case_.name = fmt::format("narrow:{}", seed);
        case_.narrow_code = true;
    }

    Case generate() {
        fill_registers();
        case_.state.fx = random_fx(random_, random_.chance(50));
        if (host_has_avx()) case_.state.upper_halves = random_upper_halves(random_, random_.chance(50));
        case_.state.rip = kPrologue;
        case_.code_start = kCode;
        for (uint64_t left = 1 + random_.below(4); left > 0 && !case_.ignored_flags; --left)
            add_instruction();
        case_.code_size = static_cast<unsigned>(code_.size());
        code_.resize(kCodeSize, kBreakpoint);
        add_prologue();
        add_patch(case_, kCode, code_);
        return std::move(case_);
    }

  private:
    void fill_registers() {
        randomise_state(random_, case_.state);
        for (unsigned i = 0; i < 8; ++i) {
            uint64_t& value = case_.state.gpr[i];
            if (random_.chance(60)) value = pick_target(random_, 4, Reach::kLow);
            if (random_.chance(15)) value = random_.below(300);
            value = static_cast<uint32_t>(value);
        }
        case_.state.gpr[cpu::kRsp] = kData + 0x800 + random_.below(0x1000) * (random_.chance(80) ? 4 : 1);
        if (random_.chance(60)) case_.state.gpr[cpu::kRcx] = random_.below(100);
        case_.state.fs_base = case_.state.gs_base = 0;
    }

    void byte(uint64_t value) { code_.push_back(static_cast<uint8_t>(value)); }
    void number(uint64_t value, unsigned size) {
        for (unsigned i = 0; i < size; ++i) byte(value >> 8 * i);
    }

    void add_instruction() {
        wide_operand_ = wide_address_ = true;
        unsigned prefixes = random_.chance(35) ? 1 + random_.chance(20) : 0;
        for (; prefixes > 0; --prefixes) {
            uint8_t prefix = random_.pick(kPrefixes);
            wide_operand_ = wide_operand_ && prefix != 0x66;
            wide_address_ = wide_address_ && prefix != 0x67;
            byte(prefix);
        }
        bool vex = host_has_avx() && random_.chance(15);
        const Row& row =
            vex ? kVexRows[random_.below(std::size(kVexRows))] : kRows[random_.below(std::size(kRows))];
        case_.ignored_flags |= row.undefined_flags;
        add_opcode(row.opcode);
        for (char part : row.rest) add_part(part, row);
    }

    void add_opcode(std::string_view text) {
        size_t plus = text.find('+');
        uint64_t more = 0;
        if (plus != std::string_view::npos) {
            uint64_t choices = 0;
            for (char digit : text.substr(plus + 1)) choices = choices * 10 + hex(digit);
            more = random_.below(choices);
            text = text.substr(0, plus);
        }
        for (size_t at = 0; at < text.size(); at += 2) {
            unsigned value = hex(text[at]) << 4 | hex(text[at + 1]);
            byte(value + (at + 2 == text.size() ? more : 0));
        }
    }

    void add_part(char part, const Row& row) {
        unsigned size = wide_operand_ ? 4 : 2;
        switch (part) {
            case 'M':
            case 'm':
                return add_modrm(row.digits, part == 'm' || random_.chance(70));
            case 'b':
                return byte(random_.next());
            case 'n':
                return byte(random_.below(random_.chance(50) ? 1 : 4));
            case 'w':
                return number(random_.below(64), 2);
            case 'z':
                return number(random_.next(), size);
            case 'o':
                return number(wide_address_ ? pick_target(random_, 4, Reach::kLow) : random_.next(),
                              wide_address_ ? 4 : 2);
            case 'j':
                return byte(80 + random_.below(40));
            default:
                return number(wide_operand_ ? 100 + random_.below(100) : random_.next(), size);
        }
    }

    void add_modrm(std::string_view digits, bool memory) {
        uint64_t reg = digits.empty() ? random_.below(8) : hex(digits[random_.below(digits.size())]);
        uint64_t mod = memory ? random_.below(3) : 3, rm = random_.below(8);
        byte(mod << 6 | reg << 3 | rm);
        if (!memory) return;
        if (!wide_address_) {
            if (mod == 1) return byte(random_.next());
            if (mod == 2 || rm == 6) number(random_.next(), 2);
            return;
        }
        bool no_base = mod == 0 && rm == 5;
        if (rm == 4) {
            uint64_t sib = random_.next() & 0xff;
            byte(sib);
            no_base = mod == 0 && (sib & 7) == 5;
        }
        if (mod == 1) byte(random_.next());
        if (no_base) return number(pick_target(random_, 4, Reach::kLow), 4);
        if (mod == 2) number(static_cast<uint64_t>(random_.between(-200, 200)), 4);
    }

    // Without a change of registers or flags.
    void add_prologue() {
        Bytes pointers{static_cast<uint8_t>(kFlatData), 0, 0, 0};
        for (unsigned i = 0; i < 4; ++i) pointers.push_back(static_cast<uint8_t>(kCode >> 8 * i));
        pointers.push_back(static_cast<uint8_t>(kNarrowCode));
        pointers.push_back(0);
        add_patch(case_, kPointers, pointers);
        Bytes prologue;
        auto add = [&](uint8_t opcode, uint8_t modrm, uint64_t target) {
            uint64_t distance = target - (kPrologue + prologue.size() + 6);
            prologue.push_back(opcode);
            prologue.push_back(modrm);
            for (unsigned i = 0; i < 4; ++i) prologue.push_back(static_cast<uint8_t>(distance >> 8 * i));
        };
        add(0x8e, 0x1d, kPointers);
        add(0x8e, 0x05, kPointers);
        add(0xff, 0x2d, kPointers + 4);
        add_patch(case_, kPrologue, prologue);
    }

    Random random_;
    Case case_;
    Bytes code_;
    bool wide_operand_ = true, wide_address_ = true;
};

}  // namespace

Case generate_narrow_case(uint64_t seed) { return NarrowCase(seed).generate(); }

}  // namespace lockstep::instructions
