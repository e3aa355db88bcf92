// SPDX-License-Identifier: Apache-2.0
// An interrupt at any icount of a guest arrives between the same two instructions as when the guest runs in
// single steps, sees and leaves the same registers, and changes nothing else.
#include "kit/guest_test.h"
#include "trace.h"

LOCKSTEP_GUEST(medley);
LOCKSTEP_GUEST_LABEL(medley_routine);
LOCKSTEP_GUEST_LABEL(medley_after_hlt);

namespace lockstep::guests {
namespace {

constexpr uint8_t kWakeVector = 0x70, kVector = 0x71;

class InterruptsTest : public GuestTest {
  protected:
    void prepare() {
        load(LOCKSTEP_GUEST_CODE(medley));
        machine.set_reg(cpu::kRbx, kPhysicalMap + kDataArea);
        machine.set_reg(cpu::kR15, kKernelData);
        machine.write(kDataArea + 0xf00, at(medley_routine));
        machine.cpu->state.rflags |= cpu::kFlagIf;
        machine.platform.schedule_interrupt(kWhenHalted, kWakeVector);
    }
    /// Where an interrupt that becomes pending after `n` instructions is taken, in single steps: by the
    /// states.
    static size_t taken_after(const std::vector<TracePoint>& states, size_t n) {
        while (n + 1 < states.size() &&
               (!(states[n].state.rflags & cpu::kFlagIf) || states[n].state.interrupt_shadow))
            ++n;
        return n;
    }
};

TEST_P(InterruptsTest, AnyIcount) {
    prepare();
    std::vector<TracePoint> states = trace(machine);
    uint64_t last_event = machine.events().size();
    cpu::CpuState undisturbed = machine.cpu->state;
    size_t halted = 0;
    while (!states[halted].state.halted) ++halted;
    for (size_t n = 1; n < halted; ++n) {
        prepare();
        machine.platform.schedule_interrupt(Icount(n), kVector);
        ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
        std::vector<Event> events = machine.events();
        ASSERT_EQ(events.size(), last_event + 1) << "interrupt at " << n;
        const cpu::CpuState& expected = states[taken_after(states, n)].state;
        bool found = false;
        for (const Event& event : events) {
            if (event.vector != kVector) continue;
            found = true;
            EXPECT_EQ(event.rip, expected.rip) << "interrupt at " << n;
            EXPECT_EQ(event.rsp, expected.gpr[cpu::kRsp]) << "interrupt at " << n;
            EXPECT_EQ(event.rflags, expected.rflags) << "interrupt at " << n;
        }
        ASSERT_TRUE(found) << "interrupt at " << n;
        // It leaves no trace in the registers (R14 holds flags that were pushed, and those are the same).
        EXPECT_EQ(machine.cpu->state.gpr, undisturbed.gpr) << "interrupt at " << n;
        EXPECT_EQ(machine.cpu->state.fx.bytes, undisturbed.fx.bytes) << "interrupt at " << n;
        if (HasFailure()) return;
    }
}

TEST_P(InterruptsTest, HaltEndsWithTheInterrupt) {
    prepare();
    machine.run_to_end();
    Event wake = machine.events().back();
    EXPECT_EQ(wake.vector, kWakeVector);
    EXPECT_EQ(wake.rip + 1, at(medley_after_hlt));  // behind HLT, before CLI
}

TEST_P(InterruptsTest, TwoAtOnceComeOneAfterTheOther) {
    prepare();
    machine.platform.schedule_interrupt(Icount(10), kVector);
    machine.platform.schedule_interrupt(Icount(10), kVector + 1);
    machine.run_to_end();
    std::vector<Event> events = machine.events();
    ASSERT_EQ(events.size(), 4u);
    EXPECT_EQ(events[0].vector, kVector);
    EXPECT_EQ(events[1].vector, kVector + 1u);
    EXPECT_EQ(events[1].rip, events[0].rip);
}

LOCKSTEP_IN_EVERY_CONFIGURATION(InterruptsTest);

}  // namespace
}  // namespace lockstep::guests
