// SPDX-License-Identifier: Apache-2.0
// What instructions touch, for every form that the decoder knows.
#include "translate/accesses.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "translate/hint_encodings.h"
#include "translate/shared_lookups.h"

namespace lockstep::translate {
namespace {

using Bytes = std::vector<uint8_t>;

const std::vector<Bytes> kPrefixes = {{},     {0x66},       {0xf2},       {0xf3},       {0x67},
                                      {0x64}, {0x66, 0xf2}, {0x66, 0xf3}, {0xf2, 0xf3}, {0xf0}};
const std::vector<Bytes> kRex = {{}, {0x41}, {0x48}, {0x4d}};
const std::vector<Bytes> kMaps = {{}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};

/// Calls `visit` with an example of each prefix, map, opcode and ModRM; the bytes behind are of use as SIB,
/// displacement and immediate.
void for_each_form(const std::function<void(const Bytes& code)>& visit) {
    for (const Bytes& prefix : kPrefixes)
        for (const Bytes& rex : kRex)
            for (const Bytes& map : kMaps)
                for (unsigned opcode = 0; opcode < 256; ++opcode)
                    for (unsigned modrm = 0; modrm < 256; ++modrm) {
                        Bytes code(prefix);
                        code.insert(code.end(), rex.begin(), rex.end());
                        code.insert(code.end(), map.begin(), map.end());
                        code.push_back(static_cast<uint8_t>(opcode));
                        code.push_back(static_cast<uint8_t>(modrm));
                        for (uint8_t byte : {0x0e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0}) code.push_back(byte);
                        visit(code);
                    }
}

std::string text_of(const Bytes& code) { return fmt::format("{:02x}", fmt::join(code, " ")); }

bool touches_nothing(Kind kind) {
    return kind == Kind::kNothing || kind == Kind::kLea || kind == Kind::kPrefetch;
}

/// Of all operands, hidden ones included, those that are bytes of memory.
std::vector<const ZydisDecodedOperand*> memory_operands(const GuestInstruction& instruction) {
    std::vector<const ZydisDecodedOperand*> found;
    for (unsigned i = 0; i < instruction.decoded.operand_count; ++i) {
        const ZydisDecodedOperand& operand = instruction.operands[i];
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.type == ZYDIS_MEMOP_TYPE_MEM)
            found.push_back(&operand);
    }
    return found;
}

// The look-ups of a block and the accesses of the slow path, which are to be the decoder's operands in
// memory.
TEST(Accesses, OfEveryFormAreThoseOfTheDecoderInBothUses) {
    cpu::CpuState state;
    uint64_t with_memory = 0;
    std::vector<AccessPlan> plans;
    for_each_form([&](const Bytes& code) {
        GuestInstruction instruction;
        if (HasFailure() || !decode(code, 0x1000, instruction) || instruction.kind >= Kind::kInterpret)
            return;
        AccessList list = accesses_of(state, instruction);
        plan_lookups({&instruction, 1}, plans);
        ASSERT_EQ(plans.size(), list.count) << text_of(code);
        plan_looks({&instruction, 1}, plans);
        ASSERT_EQ(plans.size(), list.count) << text_of(code);
        auto operands = memory_operands(instruction);
        if (touches_nothing(instruction.kind)) operands.clear();
        ASSERT_EQ(operands.size(), list.count) << text_of(code);
        for (size_t i = 0; i < list.count; ++i) {
            const MemoryAccess& access = list.items[i];
            ASSERT_EQ(access.size, operands[i]->size / 8) << text_of(code);
            ASSERT_TRUE(access.size >= 1 && access.size <= 128) << text_of(code);
            bool writes = operands[i]->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
            ASSERT_EQ(access.write, writes) << text_of(code);
            ASSERT_TRUE(access.read || access.write) << text_of(code);
        }
        with_memory += list.count > 0;
    });
    EXPECT_GT(with_memory, 500'000u);
}

TEST(Accesses, HintsOfExtensionsThatThisCpuDoesNotHaveTouchNothing) {
    uint64_t count = 0;
    cpu::CpuState state;
    for_each_form([&](const Bytes& code) {
        size_t at = 0;
        while (code[at] != 0x0f && at < 4) ++at;
        if (HasFailure() || code[at] != 0x0f || (code[at + 1] & 0xf8) != 0x18 || code[0] == 0xf0) return;
        GuestInstruction instruction;
        ASSERT_TRUE(decode(code, 0x1000, instruction));
        bool hint = instruction.kind == Kind::kNothing || instruction.kind == Kind::kPrefetch;
        ASSERT_TRUE(hint) << text_of(code);
        ASSERT_EQ(accesses_of(state, instruction).count, 0u) << text_of(code);
        ++count;
    });
    EXPECT_GE(count, (kPrefixes.size() - 1) * kRex.size() * 8 * 256);
}

TEST(Accesses, RelativeToRipHintsAreAsLongAsOthers) {
    for (uint8_t opcode = 0x18; opcode < 0x20; ++opcode) {
        GuestInstruction instruction;
        ASSERT_TRUE(decode(Bytes{0x0f, opcode, 0x25, 1, 2, 3, 4, 0xcc}, 0x1000, instruction));
        EXPECT_EQ(instruction.length, 7);
        EXPECT_EQ(instruction.kind, Kind::kNothing);
    }
}

TEST(Accesses, MoreThanFifteenBytesAreNoInstruction) {
    GuestInstruction instruction;
    Bytes code(20, 0x66);
    EXPECT_FALSE(decode(std::span(code).first(14), 0x1000, instruction)) << "the next page may tell";
    ASSERT_TRUE(decode(std::span(code).first(15), 0x1000, instruction));
    EXPECT_EQ(instruction.kind, Kind::kTooLong);
    code[14] = 0x90;
    ASSERT_TRUE(decode(std::span(code).first(15), 0x1000, instruction));
    EXPECT_EQ(instruction.kind, Kind::kNothing);
    EXPECT_EQ(instruction.length, 15);
}

}  // namespace
}  // namespace lockstep::translate
