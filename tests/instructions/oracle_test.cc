// SPDX-License-Identifier: Apache-2.0
// The oracle against results that are known without it.
#include "oracle.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>

#include "generate.h"
#include "generate_parts.h"
#include "oracle_native.h"

namespace lockstep::instructions {
namespace {

class OracleTest : public testing::Test {
  protected:
    void SetUp() override {
        Result<std::unique_ptr<Oracle>> made = Oracle::create();
        ASSERT_TRUE(made.ok()) << made.error().message();
        oracle_ = made.take();
    }

    static Case code(Bytes bytes) {
        Case test_case;
        test_case.state.rip = test_case.code_start = kCode;
        test_case.code_size = static_cast<unsigned>(bytes.size());
        test_case.state.gpr[cpu::kRsp] = kData + 0x1000;
        Random random(5);
        test_case.state.fx = random_fx(random, true);
        add_patch(test_case, kCode, std::move(bytes));
        return test_case;
    }
    Outcome run(const Case& test_case) {
        Result<std::span<const Outcome>> outcomes = oracle_->run({&test_case, 1});
        EXPECT_TRUE(outcomes.ok());
        return outcomes.value()[0];
    }

    std::unique_ptr<Oracle> oracle_;
};

TEST_F(OracleTest, LoadsAndReadsEveryRegister) {
    Case test_case = code({0xcc});
    for (size_t i = 0; i < 16; ++i) test_case.state.gpr[i] = 0x1111111111111111 * i + 1;
    if (!oracle_->judges_any_stack()) test_case.state.gpr[cpu::kRsp] = kData + 8;
    test_case.state.rflags = 0x202 | cpu::kArithmeticFlags | cpu::kFlagDf;
    test_case.state.fs_base = 0x123456789000;
    test_case.state.gs_base = settable_base(~uint64_t{0xfff});
    Outcome outcome = run(test_case);
    EXPECT_EQ(outcome.vector, cpu::kBp);
    EXPECT_EQ(outcome.state.rip, kCode + 1);
    EXPECT_EQ(outcome.state.gpr, test_case.state.gpr);
    EXPECT_EQ(outcome.state.rflags, test_case.state.rflags);
    EXPECT_EQ(outcome.state.fs_base, test_case.state.fs_base);
    EXPECT_EQ(outcome.state.gs_base, test_case.state.gs_base);
    EXPECT_EQ(std::memcmp(&outcome.state.fx.bytes[32], &test_case.state.fx.bytes[32], 384), 0);
    EXPECT_EQ(std::memcmp(&outcome.state.fx.bytes[0], &test_case.state.fx.bytes[0], 5), 0);
    EXPECT_EQ(std::memcmp(&outcome.state.fx.bytes[24], &test_case.state.fx.bytes[24], 4), 0);
}

TEST_F(OracleTest, Adds) {
    Case test_case = code({0x48, 0x01, 0xd8, 0xcc});  // add rax, rbx
    test_case.state.gpr[cpu::kRax] = 0x7fffffffffffffff;
    test_case.state.gpr[cpu::kRbx] = 1;
    Outcome outcome = run(test_case);
    EXPECT_EQ(outcome.state.gpr[cpu::kRax], 0x8000000000000000);
    EXPECT_EQ(outcome.state.rflags & cpu::kArithmeticFlags,
              cpu::kFlagOf | cpu::kFlagSf | cpu::kFlagAf | cpu::kFlagPf);
}

TEST_F(OracleTest, WritesMemoryAndForgetsItBeforeTheNextCase) {
    Case test_case = code({0x66, 0xc7, 0x00, 0x34, 0x12, 0xcc});  // mov word [rax], 0x1234
    test_case.state.gpr[cpu::kRax] = kData + 0xfff;
    Image before;
    apply_patches(test_case, before);
    Outcome outcome = run(test_case);
    size_t at = *image_offset(kData + 0xfff);
    EXPECT_EQ(outcome.memory[at], 0x34);
    EXPECT_EQ(outcome.memory[at + 1], 0x12);
    Case nothing = code({0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc});
    apply_patches(nothing, before);
    EXPECT_EQ(run(nothing).memory, before);
}

struct Fault {
    const char* name;
    Bytes code;
    uint64_t rax;
    uint8_t vector;
    uint32_t error_code;
    uint64_t cr2;
};

TEST_F(OracleTest, ReportsFaults) {
    const Fault faults[] = {
        {"mov ecx, [rax], absent", {0x8b, 0x08}, kAbsent + 5, cpu::kPf, 4, kAbsent + 5},
        {"mov ecx, [rax], across the end", {0x8b, 0x08}, kAbsent - 2, cpu::kPf, 4, kAbsent},
        {"mov [rax], ecx, read-only", {0x89, 0x08}, kReadOnly + 8, cpu::kPf, 7, kReadOnly + 8},
        {"jmp rax, no-execute", {0xff, 0xe0}, kData + 16, cpu::kPf, 0x15, kData + 16},
        {"mov ecx, [rax], not canonical", {0x8b, 0x08}, uint64_t{1} << 62, cpu::kGp, 0, 0},
        {"div al", {0xf6, 0xf0}, 0, cpu::kDe, 0, 0},
        {"ud2", {0x0f, 0x0b}, 0, cpu::kUd, 0, 0},
        {"hlt", {0xf4}, 0, cpu::kGp, 0, 0},
        {"int 0x41", {0xcd, 0x41}, 0, cpu::kGp, 0x41 * 8 + 2, 0},
    };
    for (const Fault& fault : faults) {
        Case test_case = code(fault.code);
        test_case.state.gpr[cpu::kRax] = fault.rax;
        Outcome outcome = run(test_case);
        EXPECT_EQ(outcome.vector, fault.vector) << fault.name;
        EXPECT_EQ(outcome.error_code, fault.error_code) << fault.name;
        EXPECT_EQ(outcome.cr2, fault.cr2) << fault.name;
        bool at_target = fault.error_code == 0x15;  // the jump itself has retired
        EXPECT_EQ(outcome.state.rip, at_target ? fault.rax : kCode) << fault.name;
        EXPECT_TRUE(outcome.state.rflags & cpu::kFlagRf) << fault.name;
    }
}

TEST_F(OracleTest, CountsInstructions) {
    // mov ecx, 40; rep stosb; mov ecx, 5; again: dec ecx; jnz again; int3
    Case test_case = code({0xb9, 40, 0, 0, 0, 0xf3, 0xaa, 0xb9, 5, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xcc});
    test_case.state.gpr[cpu::kRdi] = kData;
    test_case.count_instructions = true;
    Outcome outcome = run(test_case);
    EXPECT_EQ(outcome.vector, cpu::kBp);
    EXPECT_EQ(outcome.retired, 3 + 2 * 5);
    EXPECT_FALSE(outcome.state.rflags & cpu::kFlagTf);
}

TEST_F(OracleTest, EndsEndlessCases) {
    Outcome outcome = run(code({0xeb, 0xfe}));
    EXPECT_EQ(outcome.ending, Ending::kTimeout);
    EXPECT_EQ(run(code({0xcc})).vector, cpu::kBp);
}

TEST_F(OracleTest, RepeatsItself) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
        Case test_case =
            seed % 2 ? generate_sequence_case(seed) : generate_form_case(seed * 7 % forms().size(), seed);
        Outcome first = run(test_case), second = run(test_case);
        EXPECT_EQ(first.state.gpr, second.state.gpr) << test_case.name;
        EXPECT_EQ(first.state.fx.bytes, second.state.fx.bytes) << test_case.name;
        EXPECT_EQ(first.memory, second.memory) << test_case.name;
    }
}

TEST_F(OracleTest, IsFast) {
    std::vector<Case> cases;
    for (uint64_t seed = 0; seed < Oracle::kBatch; ++seed) cases.push_back(generate_sequence_case(seed));
    constexpr int kRounds = 100;
    auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kRounds; ++i) ASSERT_TRUE(oracle_->run(cases).ok());
    std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    double rate = kRounds * static_cast<double>(Oracle::kBatch) / time.count();
    RecordProperty("cases_per_second", static_cast<int>(rate));
    std::printf("%.0f cases a second\n", rate);
}

}  // namespace
}  // namespace lockstep::instructions
