// SPDX-License-Identifier: Apache-2.0
// From the state after a reset to 64-bit code, as firmware goes.
#include <algorithm>
#include <span>

#include "kit/guest_test.h"

LOCKSTEP_GUEST(modes);
LOCKSTEP_GUEST_LABEL(modes_vectors);

namespace lockstep::guests {
namespace {

constexpr uint64_t kSegment = 0xf0000;  ///< where real mode reaches it

class ModesTest : public GuestTest {
  protected:
    void SetUp() override {
        load(LOCKSTEP_GUEST_CODE(modes));
        auto code = LOCKSTEP_GUEST_CODE(modes);
        machine.memory->write(GuestPhys(kSegment), {code.start, code.size()});
        machine.long_mode->map(kSegment, kSegment, kPresent | kWritable);
        machine.long_mode->map(kStackTop - kPageSize, kStackTop - kPageSize, kPresent | kWritable);
        cpu::reset(*machine.cpu);
        cpu::CpuState& state = machine.cpu->state;
        state.rip = 0;
        state.segments[cpu::kCs].base = kSegment;
        state.idtr = {kSegment + static_cast<uint64_t>(modes_vectors - guest_modes), 0x3ff};
        state.gpr[cpu::kRdi] = machine.long_mode->root();
        machine.vcpu->state_replaced();
    }
    void expect_end() const {
        EXPECT_EQ(machine.reg(cpu::kRax), 0x1100004321u) << "the double words on the stack";
        EXPECT_EQ(machine.reg(cpu::kRbx), 0x4322u);
        EXPECT_EQ(machine.reg(cpu::kRbp), 0x11u) << "the function and the handler of real mode";
        EXPECT_EQ(machine.reg(cpu::kRsi), 0x1234u);
        EXPECT_EQ(machine.reg(cpu::kRsp), kStackTop);
        EXPECT_EQ(machine.reg(cpu::kR9), 0x1122334455667788u);
        EXPECT_EQ(machine.reg(cpu::kR11), 0x55aa55aau) << "through a segment with a base";
        EXPECT_TRUE(machine.cpu->state.code64());
    }
};

TEST_P(ModesTest, FromResetTo64BitCode) {
    ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted) << describe(machine.cpu->state);
    expect_end();
}

TEST_P(ModesTest, StopsBeforeEachInstruction) {
    for (uint64_t stop = 1; machine.run(Icount(stop)) == translate::VcpuExit::kReached; ++stop)
        ASSERT_EQ(machine.cpu->state.icount.value(), stop);
    expect_end();
    EXPECT_EQ(machine.cpu->state.icount.value(), 71u);
}

// A double word at 14 ends behind the limit, 15, and no handler is there: the machine resets.
TEST_P(ModesTest, ALimitEndsASegment) {
    auto code = std::span(machine.memory->host(GuestPhys(kSegment)), kPageSize);
    const uint8_t store[] = {0x64, 0xc7, 0x05, 12, 0, 0, 0};
    auto found = std::search(code.begin(), code.end(), std::begin(store), std::end(store));
    ASSERT_NE(found, code.end());
    found[3] = 14;
    EXPECT_EQ(machine.run_to_end(), translate::VcpuExit::kTripleFault);
    EXPECT_EQ(machine.cpu->state.rip, static_cast<uint64_t>(found - code.begin()) + kSegment);
}

LOCKSTEP_IN_EVERY_CONFIGURATION(ModesTest);

}  // namespace
}  // namespace lockstep::guests
