// SPDX-License-Identifier: Apache-2.0
// Whatever the translator hands to the interpreter, the interpreter knows: all encodings of all instructions,
// as far as opcode, prefixes and ModRM tell them apart.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/bytes.h"
#include "cpu/instruction.h"
#include "translate/guest_instruction.h"

namespace lockstep::cpu {
namespace {

/// What goes before the opcode map: mandatory and other prefixes, REX last.
const Bytes kPrefixes[] = {{},           {0x66},       {0xf2},       {0xf3},       {0x48},       {0x4f},
                           {0x66, 0x48}, {0xf2, 0x48}, {0xf3, 0x48}, {0x66, 0xf2}, {0x66, 0xf3}, {0x67},
                           {0x67, 0x66}, {0x64},       {0x65, 0x66}, {0xf0},       {0x2e, 0xf3}};
const Bytes kMaps[] = {{}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};

class InterpreterForms : public ::testing::Test {
  protected:
    /// Calls `visit` with 15 bytes that begin with each prefix, map, opcode and ModRM; memory operands have a
    /// SIB byte and displacement of 0x24..., immediates are of the same bytes.
    template <typename Visit>
    static void for_each_form(Visit visit) {
        for (const Bytes& prefix : kPrefixes)
            for (const Bytes& map : kMaps)
                for (unsigned low = 0; low < 0x10000; ++low) {
                    Bytes bytes = prefix;
                    bytes.insert(bytes.end(), map.begin(), map.end());
                    bytes.push_back(static_cast<uint8_t>(low >> 8));
                    bytes.push_back(static_cast<uint8_t>(low));
                    bytes.resize(15, 0x24);
                    visit(bytes);
                }
    }

    static std::string text(const Bytes& bytes, size_t length) {
        std::string result;
        for (size_t i = 0; i < length; ++i) result += fmt::format("{:02x} ", bytes[i]);
        return result;
    }
};

TEST_F(InterpreterForms, EveryFormThatTheTranslatorLeavesToTheInterpreterDecodes) {
    std::map<std::string, unsigned> seen;
    std::map<std::string, std::string> unknown;  // by mnemonic, the first encoding
    for_each_form([&](const Bytes& bytes) {
        translate::GuestInstruction guest;
        if (!translate::decode(bytes, 0x1000, guest)) return;
        if (guest.kind != translate::Kind::kInterpret && guest.kind != translate::Kind::kInterpretFpu) return;
        std::string name = ZydisMnemonicGetString(guest.decoded.mnemonic);
        ++seen[name];
        Instruction instruction;
        if (!decode(bytes.data(), bytes.size(), instruction) || instruction.length != guest.length)
            unknown.emplace(name, text(bytes, guest.length));
    });
    for (const auto& [name, bytes] : unknown) ADD_FAILURE() << name << ": " << bytes;
    // A look at the enumeration itself: these must have been met.
    for (const char* name :
         {"push",     "pop",    "leave",   "enter",   "maskmovq", "maskmovdqu", "xlat",    "iretq",
          "ret",      "jmp",    "call",    "movsq",   "cmpsd",    "mov",        "lss",     "lar",
          "fxsave64", "fnsave", "insd",    "invpcid", "wrfsbase", "swapgs",     "syscall", "sysret",
          "popfq",    "xsave",  "xsave64", "xrstor",  "xrstor64", "xgetbv",     "xsetbv"})
        EXPECT_GT(seen[name], 0u) << name;
}

// With the prefix 66, near branches stay 64 bits wide, as on Intel's processors; on AMD's they become 16
// bits.
TEST_F(InterpreterForms, OperandSizeDoesNotChangeNearBranches) {
    struct Row {
        Bytes bytes;
        translate::Kind kind;
        uint8_t length;
    };
    const Row rows[] = {
        {{0x66, 0xc3}, translate::Kind::kReturn, 2},
        {{0x66, 0xc2, 0x08, 0x00}, translate::Kind::kReturn, 4},
        {{0x66, 0xe8, 0x01, 0x02, 0x03, 0x04}, translate::Kind::kCall, 6},
        {{0x66, 0xe9, 0x01, 0x02, 0x03, 0x04}, translate::Kind::kJump, 6},
        {{0x66, 0xeb, 0x01}, translate::Kind::kJump, 3},
        {{0x66, 0x0f, 0x84, 0x01, 0x02, 0x03, 0x04}, translate::Kind::kConditional, 7},
        {{0x66, 0xe2, 0x01}, translate::Kind::kLoop, 3},
        {{0x66, 0xff, 0xd0}, translate::Kind::kCallIndirect, 3},
        {{0x66, 0xff, 0x20}, translate::Kind::kJumpIndirect, 3},
    };
    for (const Row& row : rows) {
        Bytes bytes = row.bytes;
        bytes.resize(15, 0);
        translate::GuestInstruction guest;
        ASSERT_TRUE(translate::decode(bytes, 0x1000, guest));
        EXPECT_EQ(guest.kind, row.kind) << text(row.bytes, row.bytes.size());
        EXPECT_EQ(guest.length, row.length) << text(row.bytes, row.bytes.size());
    }
}

TEST_F(InterpreterForms, AreCountedUnderAName) {
    auto name_of = [](Bytes bytes) {
        bytes.resize(15);
        Instruction instruction;
        EXPECT_TRUE(decode(bytes.data(), bytes.size(), instruction)) << text(bytes, bytes.size());
        return name_of_kind(instruction.kind);
    };
    EXPECT_EQ(name_of({0x48, 0xcf}), "iretq");
    EXPECT_EQ(name_of({0xf3, 0xa4}), "movsb");
    EXPECT_EQ(name_of({0x0f, 0x22, 0xd8}), "mov cr3");
    EXPECT_EQ(name_of({0x0f, 0x23, 0xf8}), "mov dr7");
    EXPECT_EQ(name_of({0x8e, 0xd0}), "mov ss");
}

}  // namespace
}  // namespace lockstep::cpu
