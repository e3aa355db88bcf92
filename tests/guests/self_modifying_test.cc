// SPDX-License-Identifier: Apache-2.0
// Code that changes code: what was written is what runs, at once, however it was written.
#include "kit/guest_test.h"

LOCKSTEP_GUEST(next_instruction);
LOCKSTEP_GUEST(loop_body);
LOCKSTEP_GUEST(alias);
LOCKSTEP_GUEST(string);
LOCKSTEP_GUEST(across_pages);
LOCKSTEP_GUEST(remapped);
LOCKSTEP_GUEST(shared_page);
LOCKSTEP_GUEST(compiler);

namespace lockstep::guests {
namespace {

constexpr uint64_t kAlias = 0x40000000;

class SelfModifyingTest : public GuestTest {
  protected:
    uint64_t result() {
        EXPECT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
        EXPECT_TRUE(machine.events().empty());
        return machine.reg(cpu::kRax);
    }
};

TEST_P(SelfModifyingTest, TheNextInstruction) {
    load(LOCKSTEP_GUEST_CODE(next_instruction));
    EXPECT_EQ(result(), 7u);
}

TEST_P(SelfModifyingTest, AnInstructionOfALoop) {
    load(LOCKSTEP_GUEST_CODE(loop_body));
    EXPECT_EQ(result(), 1u + 2 + 3 + 4 + 5);
}

TEST_P(SelfModifyingTest, ThroughAnotherAddress) {
    load(LOCKSTEP_GUEST_CODE(alias));
    machine.long_mode->map(kAlias, kCodeArea, kPresent | kWritable);
    machine.set_reg(cpu::kRbx, kAlias);
    machine.set_reg(cpu::kRsi, machine.address(0));
    EXPECT_EQ(result(), 0x1234u);
}

TEST_P(SelfModifyingTest, ByAStringInstruction) {
    load(LOCKSTEP_GUEST_CODE(string));
    EXPECT_EQ(result(), 600u);
}

TEST_P(SelfModifyingTest, AnInstructionAcrossPages) {
    load(LOCKSTEP_GUEST_CODE(across_pages));
    machine.set_reg(cpu::kRdx, machine.address(0));
    EXPECT_EQ(result(), 1u + 0x101 + 0x201) << "the second byte of the immediate grows";
}

TEST_P(SelfModifyingTest, ARemappedPage) {
    load(LOCKSTEP_GUEST_CODE(remapped));
    const Bytes add_one{0x83, 0xc0, 0x01, 0xc3}, add_hundred{0x83, 0xc0, 0x64, 0xc3};
    machine.memory->write(GuestPhys(kDataArea), add_one);
    machine.memory->write(GuestPhys(kDataArea + kPageSize), add_hundred);
    uint64_t entry = machine.long_mode->map(kAlias, kDataArea, kPresent);
    machine.set_reg(cpu::kRbx, kAlias);
    machine.set_reg(cpu::kRsi, kPhysicalMap + entry);
    machine.set_reg(cpu::kR8, kDataArea | kPresent);
    machine.set_reg(cpu::kR9, (kDataArea + kPageSize) | kPresent);
    EXPECT_EQ(result(), 1u + 100 + 1);
}

TEST_P(SelfModifyingTest, DataBesideTheCode) {
    load(LOCKSTEP_GUEST_CODE(shared_page));
    uint64_t sum = 0, value = 0;
    for (uint64_t i = 200; i > 0; --i) sum += value += i;
    EXPECT_EQ(result(), sum);
}

TEST_P(SelfModifyingTest, ACompiler) {
    load(LOCKSTEP_GUEST_CODE(compiler));
    EXPECT_EQ(result(), 50u * 51 / 2);
}

LOCKSTEP_IN_EVERY_CONFIGURATION(SelfModifyingTest);

}  // namespace
}  // namespace lockstep::guests
