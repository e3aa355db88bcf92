// SPDX-License-Identifier: Apache-2.0
// Exceptions: vector, error code, return address, stack, double and triple faults.
#include "kit/guest_test.h"

LOCKSTEP_GUEST(faults);
LOCKSTEP_GUEST(single_step);
LOCKSTEP_GUEST(double_fault);
LOCKSTEP_GUEST_LABEL(fault_divide_at);
LOCKSTEP_GUEST_LABEL(fault_undefined_at);
LOCKSTEP_GUEST_LABEL(trap_breakpoint_after);
LOCKSTEP_GUEST_LABEL(trap_software_after);
LOCKSTEP_GUEST_LABEL(fault_device_at);
LOCKSTEP_GUEST_LABEL(fault_general_at);
LOCKSTEP_GUEST_LABEL(fault_stack_at);
LOCKSTEP_GUEST_LABEL(fault_page_read_at);
LOCKSTEP_GUEST_LABEL(fault_page_write_at);
LOCKSTEP_GUEST_LABEL(fault_page_modify_at);
LOCKSTEP_GUEST_LABEL(fault_control_at);
LOCKSTEP_GUEST_LABEL(fault_msr_at);
LOCKSTEP_GUEST_LABEL(fault_simd_at);
LOCKSTEP_GUEST_LABEL(fault_x87_at);
LOCKSTEP_GUEST_LABEL(step_1);
LOCKSTEP_GUEST_LABEL(step_2);
LOCKSTEP_GUEST_LABEL(step_3);
LOCKSTEP_GUEST_LABEL(step_4);
LOCKSTEP_GUEST_LABEL(step_5);
LOCKSTEP_GUEST_LABEL(step_6);
LOCKSTEP_GUEST_LABEL(double_fault_at);

namespace lockstep::guests {
namespace {

constexpr uint64_t kNotMapped = 0x7000000000;

class ExceptionsTest : public GuestTest {};

TEST_P(ExceptionsTest, EachKindArrivesWithItsFrame) {
    load(LOCKSTEP_GUEST_CODE(faults));
    machine.set_reg(cpu::kRbx, kNotMapped);
    EXPECT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
    std::vector<Event> events = machine.events();
    ASSERT_EQ(events.size(), 16u);
    size_t i = 0;
    expect_event(events[i++], cpu::kDe, 0, fault_divide_at, "#DE");
    expect_event(events[i++], cpu::kUd, 0, fault_undefined_at, "#UD");
    expect_event(events[i++], cpu::kBp, 0, trap_breakpoint_after, "#BP");
    expect_event(events[i++], 0x90, 0, trap_software_after, "INT 0x90");
    expect_event(events[i++], cpu::kNm, 0, fault_device_at, "#NM");
    expect_event(events[i++], cpu::kGp, 0, fault_general_at, "#GP, not canonical");
    expect_event(events[i++], cpu::kSs_, 0, fault_stack_at, "#SS");
    expect_event(events[i++], cpu::kPf, 0, fault_page_read_at, "#PF, read");
    EXPECT_EQ(events[i - 1].cr2, kNotMapped + 8);
    expect_event(events[i++], cpu::kPf, 2, fault_page_write_at, "#PF, write");
    EXPECT_EQ(events[i - 1].cr2, kNotMapped + 16);
    expect_event(events[i++], cpu::kPf, 2, fault_page_modify_at, "#PF, read and write");
    EXPECT_EQ(events[i - 1].cr2, kNotMapped + 0xffc);
    EXPECT_EQ(events[i].vector, cpu::kPf);
    EXPECT_EQ(events[i].error_code, 0x10u) << "#PF, fetch";
    EXPECT_EQ(events[i].rip, kNotMapped);
    EXPECT_EQ(events[i++].cr2, kNotMapped);
    expect_event(events[i++], cpu::kGp, 0, fault_control_at, "#GP, CR4");
    expect_event(events[i++], cpu::kGp, 0, fault_msr_at, "#GP, RDMSR");
    EXPECT_EQ(events[i].vector, cpu::kGp);
    EXPECT_EQ(events[i++].error_code, 0x500u) << "#GP, selector beyond the GDT";
    expect_event(events[i++], cpu::kXm, 0, fault_simd_at, "#XM");
    expect_event(events[i++], cpu::kMf, 0, fault_x87_at, "#MF");
}

TEST_P(ExceptionsTest, FaultsPushTheResumeFlagAndTrapsDont) {
    load(LOCKSTEP_GUEST_CODE(faults));
    machine.set_reg(cpu::kRbx, kNotMapped);
    machine.run_to_end();
    for (const Event& event : machine.events()) {
        bool trap = event.vector == cpu::kBp || event.vector == 0x90;
        EXPECT_EQ(event.rflags >> 16 & 1, trap ? 0u : 1u) << "vector " << event.vector;
        EXPECT_EQ(event.cs, kKernelCode);
        EXPECT_EQ(event.ss, kKernelData);
    }
}

TEST_P(ExceptionsTest, TheTrapFlagStopsAfterEachInstruction) {
    load(LOCKSTEP_GUEST_CODE(single_step));
    machine.set_reg(cpu::kRdi, kPhysicalMap + kDataArea);
    machine.run_to_end();
    std::vector<uint64_t> rips;
    for (const Event& event : machine.events()) {
        EXPECT_EQ(event.vector, cpu::kDb);
        rips.push_back(event.rip);
    }
    // The POPF that clears TF is the last one to trap, as it began with TF set.
    EXPECT_EQ(rips, (std::vector<uint64_t>{at(step_1), at(step_2), at(step_3), at(step_4), at(step_5),
                                           at(step_6)}));
    EXPECT_EQ(machine.reg(cpu::kRbx), 77u);
}

TEST_P(ExceptionsTest, ADoubleFaultUsesItsOwnStack) {
    load(LOCKSTEP_GUEST_CODE(double_fault));
    constexpr uint64_t kOwnStack = kPhysicalMap + 0x1c000;
    machine.long_mode->set_interrupt_stack(1, kOwnStack);
    machine.long_mode->set_gate(cpu::kDf, kPhysicalMap + kHandlerArea + 16 * kEndVector, 0, 1);
    machine.set_reg(cpu::kRbx, kNotMapped);
    EXPECT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
    uint64_t frame = kOwnStack - 48 - kPhysicalMap;  // error code, rip, cs, rflags, rsp, ss
    EXPECT_EQ(machine.read(frame), 0u);
    EXPECT_EQ(machine.read(frame + 8), at(double_fault_at));
    EXPECT_EQ(machine.read(frame + 32), kNotMapped);
    EXPECT_EQ(machine.cpu->state.cr2, kNotMapped - 8);
}

TEST_P(ExceptionsTest, AThirdFaultEndsTheMachine) {
    load(LOCKSTEP_GUEST_CODE(double_fault));
    machine.set_reg(cpu::kRbx, kNotMapped);
    EXPECT_EQ(machine.run_to_end(), translate::VcpuExit::kTripleFault);
}

LOCKSTEP_IN_EVERY_CONFIGURATION(ExceptionsTest);

}  // namespace
}  // namespace lockstep::guests
