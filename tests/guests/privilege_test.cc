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
LOCKSTEP_GUEST(middle_levels);
LOCKSTEP_GUEST_LABEL(middle_cli);
LOCKSTEP_GUEST_LABEL(middle_sti);
LOCKSTEP_GUEST_LABEL(middle_swapgs);
LOCKSTEP_GUEST_LABEL(middle_rdtsc);
LOCKSTEP_GUEST_LABEL(middle_rdtscp);
LOCKSTEP_GUEST_LABEL(middle_read);
LOCKSTEP_GUEST_LABEL(middle_write);
LOCKSTEP_GUEST_LABEL(middle_debug);
LOCKSTEP_GUEST_LABEL(middle_rdmsr);
LOCKSTEP_GUEST_LABEL(middle_sysret);
LOCKSTEP_GUEST_LABEL(middle_invlpg);
LOCKSTEP_GUEST_LABEL(middle_clts);
LOCKSTEP_GUEST_LABEL(middle_wbinvd);
LOCKSTEP_GUEST_LABEL(middle_hlt);

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

// Levels 1 and 2 reach the supervisor's pages, and have nothing else of level 0. IOPL lets them change IF.
TEST_P(PrivilegeTest, LevelsBetweenKernelAndUser) {
    const uint8_t* const by_iopl[] = {middle_cli, middle_sti};
    const uint8_t* const always[] = {middle_swapgs, middle_rdtsc, middle_rdtscp, middle_read,
                                     middle_write,  middle_debug, middle_rdmsr,  middle_sysret,
                                     middle_invlpg, middle_clts,  middle_wbinvd, middle_hlt};
    constexpr uint64_t kCode = 0x50, kData = 0x58;
    for (uint64_t level : {1, 2}) {
        for (uint64_t iopl : {level - 1, level}) {
            SCOPED_TRACE(testing::Message() << "level " << level << ", IOPL " << iopl);
            load(LOCKSTEP_GUEST_CODE(middle_levels));
            machine.write(kSystemArea + kCode, 0x00af9b000000ffff | level << 45);
            machine.write(kSystemArea + kData, 0x00cf93000000ffff | level << 45);
            machine.set_reg(cpu::kRdi, kCode | level);
            machine.set_reg(cpu::kRsi, kData | level);
            machine.set_reg(cpu::kRbx, 2 | iopl << 12);
            ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
            std::vector<const uint8_t*> refused;
            if (iopl < level) refused.assign(std::begin(by_iopl), std::end(by_iopl));
            refused.insert(refused.end(), std::begin(always), std::end(always));
            std::vector<Event> events = machine.events();
            ASSERT_EQ(events.size(), refused.size() + 1);
            for (size_t i = 0; i < refused.size(); ++i) {
                expect_event(events[i], cpu::kGp, 0, refused[i], "#GP");
                EXPECT_EQ(events[i].cs, kCode | level);
            }
            EXPECT_EQ(events.back().vector, kEndVector);
            EXPECT_EQ(machine.reg(cpu::kR13) & cpu::kFlagIf, iopl < level ? 0 : cpu::kFlagIf);
        }
    }
}

LOCKSTEP_IN_EVERY_CONFIGURATION(PrivilegeTest);

}  // namespace
}  // namespace lockstep::guests
