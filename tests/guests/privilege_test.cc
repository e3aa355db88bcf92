// SPDX-License-Identifier: Apache-2.0
// From user to kernel mode and back, and what user code may not do.
#include "kit/guest_test.h"

LOCKSTEP_GUEST(system_calls);
LOCKSTEP_GUEST(user_limits);
LOCKSTEP_GUEST_LABEL(system_calls_user);
LOCKSTEP_GUEST_LABEL(user_limits_user);
LOCKSTEP_GUEST_LABEL(limit_hlt);
LOCKSTEP_GUEST_LABEL(limit_cr3);
LOCKSTEP_GUEST_LABEL(limit_in);
LOCKSTEP_GUEST_LABEL(limit_wrmsr);
LOCKSTEP_GUEST_LABEL(limit_lgdt);
LOCKSTEP_GUEST_LABEL(limit_kernel_read);
LOCKSTEP_GUEST_LABEL(limit_kernel_write);
LOCKSTEP_GUEST_LABEL(limit_interrupt_gate);
LOCKSTEP_GUEST_LABEL(limit_cli);
LOCKSTEP_GUEST_LABEL(limit_end);

namespace lockstep::guests {
namespace {

constexpr uint64_t kUserCodeAddress = 0x400000;
constexpr uint64_t kUserStack = 0x602000;

class PrivilegeTest : public GuestTest {
  protected:
    void prepare(const GuestCode& code, const uint8_t* user_label) {
        load(code);
        machine.long_mode->map(kUserCodeAddress, kCodeArea, kPresent | kUser);
        machine.long_mode->map(kUserStack - kPageSize, kDataArea + kPageSize,
                               kPresent | kWritable | kUser | kNoExecute);
        machine.set_reg(cpu::kRsi, code.offset(*user_label));
        user_offset_ = kUserCodeAddress - machine.address(0);
    }
    uint64_t user_address(const uint8_t* label) const { return at(label) + user_offset_; }

    uint64_t user_offset_ = 0;
};

TEST_P(PrivilegeTest, SystemCalls) {
    prepare(LOCKSTEP_GUEST_CODE(system_calls), system_calls_user);
    ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
    EXPECT_EQ(machine.reg(cpu::kRbx), 3u);
    EXPECT_EQ(machine.reg(cpu::kR8), kUserStack) << "SYSCALL leaves RSP alone";
    EXPECT_EQ(machine.reg(cpu::kR9), kKernelCode);
    EXPECT_EQ(machine.reg(cpu::kR10), kKernelData);
    EXPECT_EQ(machine.reg(cpu::kR12), 0x11223344u) << "SWAPGS";
    EXPECT_EQ(machine.reg(cpu::kR13), 0x55667788u);
    EXPECT_EQ(machine.reg(cpu::kR14) & (cpu::kFlagIf | cpu::kFlagDf), 0u) << "SFMASK";
    EXPECT_EQ(machine.reg(cpu::kR11) & cpu::kFlagIf, cpu::kFlagIf) << "R11 holds the user's flags";
    // mov (5) + std (1) + syscall (2): RCX of the first system call
    EXPECT_EQ(machine.reg(cpu::kRbp), user_address(system_calls_user) + 8);
    EXPECT_TRUE(machine.events().empty());
    EXPECT_EQ(machine.cpu->state.cpl(), 0u);
}

TEST_P(PrivilegeTest, LimitsOfUserCode) {
    prepare(LOCKSTEP_GUEST_CODE(user_limits), user_limits_user);
    machine.set_reg(cpu::kRdi, kPhysicalMap + kDataArea);
    struct Limit {
        const uint8_t *label, *next;
        uint64_t vector, error_code;
    };
    const Limit limits[] = {
        {limit_hlt, limit_cr3, cpu::kGp, 0},
        {limit_cr3, limit_in, cpu::kGp, 0},
        {limit_in, limit_wrmsr, cpu::kGp, 0},
        {limit_wrmsr, limit_lgdt, cpu::kGp, 0},
        {limit_lgdt, limit_kernel_read, cpu::kGp, 0},
        {limit_kernel_read, limit_kernel_write, cpu::kPf, 5},
        {limit_kernel_write, limit_interrupt_gate, cpu::kPf, 7},
        {limit_interrupt_gate, limit_cli, cpu::kGp, 0x20 * 8 + 2},
        {limit_cli, limit_end, cpu::kGp, 0},
    };
    // The handler resumes at an address once; the next one is set when the vCPU is about to try the next
    // thing.
    size_t tried = 0;
    for (uint64_t icount = 1; tried < std::size(limits) && icount < 2000; ++icount) {
        machine.run(Icount(icount));
        if (machine.cpu->state.rip != user_address(limits[tried].label) || machine.cpu->state.cpl() != 3)
            continue;
        machine.write(kLogArea + 8, user_address(limits[tried].next));
        ++tried;
    }
    ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
    std::vector<Event> events = machine.events();
    ASSERT_EQ(events.size(), std::size(limits) + 1);
    for (size_t i = 0; i < std::size(limits); ++i) {
        EXPECT_EQ(events[i].vector, limits[i].vector) << i;
        EXPECT_EQ(events[i].error_code, limits[i].error_code) << i;
        EXPECT_EQ(events[i].rip, user_address(limits[i].label)) << i;
        EXPECT_EQ(events[i].cs, kUserCode) << i;
        EXPECT_EQ(events[i].ss, kUserData) << i;
        EXPECT_EQ(events[i].rsp, kUserStack) << i;
    }
    EXPECT_EQ(machine.reg(cpu::kR10) & cpu::kFlagIopl, 0u);
    EXPECT_EQ(events.back().vector, kEndVector);
}

LOCKSTEP_IN_EVERY_CONFIGURATION(PrivilegeTest);

}  // namespace
}  // namespace lockstep::guests
