// SPDX-License-Identifier: Apache-2.0
// Random instructions from seeds: none may bring the interpreter down, count wrongly, or leave half an effect
// behind when it faults.
#include <random>

#include "cpu/handlers.h"
#include "cpu/save.h"
#include "cpu_fixture.h"

namespace lockstep::cpu {
namespace {

class FuzzTest : public CpuTest {
  protected:
    FuzzTest() {
        state.cr4 |= x86::kCr4Osxsave;
        state.xcr0 = x86::xcr0_of(x86::CpuModel::kV2);
    }
    uint64_t pick(std::initializer_list<uint64_t> from) { return *(from.begin() + random() % from.size()); }

    /// Prefixes, an opcode of the one-byte or two-byte map, and bytes for whatever follows.
    Bytes random_code() {
        Bytes code;
        while (random() % 3 == 0)
            code.push_back(static_cast<uint8_t>(pick({0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x64, 0x65, 0x2e})));
        if (random() % 3 == 0) code.push_back(static_cast<uint8_t>(0x40 + random() % 16));
        if (random() % 2) code.push_back(0x0f);
        while (code.size() < 15) code.push_back(static_cast<uint8_t>(random()));
        return code;
    }
    void random_registers() {
        for (uint64_t& value : state.gpr)
            value =
                random() % 4
                    ? pick({0, 1, 16, 0x9000, 0x9ff8, kStack, kUserData, kUserData + 0xffc, kUserStack,
                            kKernelCs, kUserSs, kTssSelector, 0x900000, 0x7ffffffffffc, 0xfffffffffffffff8})
                    : random();
        state.rflags =
            2 | (random() & (kArithmeticFlags | kFlagDf | kFlagIf | kFlagIopl | kFlagTf | kFlagNt));
    }
    /// Faults of these leave a trace: MASKMOVQ enters the MMX state before its store.
    static bool leaves_a_trace(const Instruction& instruction) {
        return moves_elements(instruction) || instruction.handler == maskmovq_instruction;
    }
    static bool moves_elements(const Instruction& instruction) {
        return instruction.opcode >= 0x6c && instruction.opcode <= 0xaf &&
               instruction.repeat != Repeat::kNone;
    }

    std::mt19937_64 random{20240611};
};

TEST_F(FuzzTest, RandomInstructions) {
    unsigned executed = 0, faulted = 0;
    for (unsigned round = 0; round < 200000; ++round) {
        random() % 2 ? enter_user() : enter_kernel();
        random_registers();
        Bytes code = random_code();
        CpuState before = state;
        uint64_t hash_before = hash(state);
        StepResult result = run(code);
        std::string what = fmt::format("round {}, code {:02x}", round, fmt::join(code, " "));
        Instruction decoded;
        bool known = decode(code.data(), code.size(), decoded);
        ASSERT_EQ(result == StepResult::kUnsupported, !known) << what;
        if (result == StepResult::kFault || !known) {
            bool debug = exception.vector == kDb;  // DR6 says why
            bool whole = !known || (!debug && !leaves_a_trace(decoded));
            ASSERT_TRUE(!whole || hash(state) == hash_before) << what;
            ASSERT_EQ(state.icount, before.icount) << what;
            faulted += known;
        } else {
            ASSERT_EQ(state.icount, before.icount + 1) << what;
            ++executed;
        }
        state = before;
        state.interrupt_shadow = state.halted = 0;
        cpu.mmu.clear();
    }
    EXPECT_GT(executed, 5000u);
    EXPECT_GT(faulted, 5000u);
}

}  // namespace
}  // namespace lockstep::cpu
