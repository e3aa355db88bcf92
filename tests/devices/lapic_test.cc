// SPDX-License-Identifier: Apache-2.0
#include "devices/lapic/lapic.h"

#include "kit.h"

namespace lockstep::devices {
namespace {

class LapicTest : public testing::Test {
  protected:
    LapicTest() { lapic_.write_register(0xf0, 4, 0x1ff); }
    void interrupt(uint8_t vector, bool level = false) {
        lapic_.deliver_message(0xfee00000, vector | (level ? 0xc000u : 0));
    }
    uint32_t read(uint64_t offset) { return static_cast<uint32_t>(lapic_.read_register(offset, 4)); }
    void write(uint64_t offset, uint32_t value) { lapic_.write_register(offset, 4, value); }
    void enter_x2apic() { ASSERT_TRUE(lapic_.write_msr(0x1b, 0xfee00d00)); }

    TestTime time_;
    Lapic lapic_{time_.timers};
};

TEST_F(LapicTest, TakesTheHighestPriorityFirst) {
    interrupt(0x31);
    interrupt(0x81);
    ASSERT_TRUE(lapic_.interrupt_pending());
    EXPECT_EQ(lapic_.acknowledge_interrupt(), 0x81);
    EXPECT_FALSE(lapic_.interrupt_pending());  // 0x31 is of lower class than what is in service
    write(0xb0, 0);
    ASSERT_TRUE(lapic_.interrupt_pending());
    EXPECT_EQ(lapic_.acknowledge_interrupt(), 0x31);
}

TEST_F(LapicTest, SameClassWaits) {
    interrupt(0x41);
    EXPECT_EQ(lapic_.acknowledge_interrupt(), 0x41);
    interrupt(0x4f);
    EXPECT_FALSE(lapic_.interrupt_pending());
    interrupt(0x50);
    EXPECT_TRUE(lapic_.interrupt_pending());
}

TEST_F(LapicTest, TaskPriorityHoldsBack) {
    lapic_.set_task_priority(5);
    EXPECT_EQ(read(0x80), 0x50u);
    EXPECT_EQ(read(0xa0), 0x50u);
    interrupt(0x5f);
    EXPECT_FALSE(lapic_.interrupt_pending());
    write(0x80, 0x40);
    EXPECT_EQ(lapic_.task_priority(), 4u);
    EXPECT_TRUE(lapic_.interrupt_pending());
}

TEST_F(LapicTest, NothingPendingGivesTheSpuriousVector) { EXPECT_EQ(lapic_.acknowledge_interrupt(), 0xff); }

TEST_F(LapicTest, SoftwareDisabledAcceptsNothing) {
    write(0xf0, 0xff);
    interrupt(0x41);
    write(0xf0, 0x1ff);
    EXPECT_FALSE(lapic_.interrupt_pending());
    write(0xf0, 0xff);
    write(0x320, 0x41);
    EXPECT_TRUE(read(0x320) & 1 << 16) << "a disabled APIC masks its local vector table";
}

TEST_F(LapicTest, EndOfALevelInterruptIsTold) {
    std::vector<uint8_t> ended;
    lapic_.set_eoi_listener([&](uint8_t vector) { ended.push_back(vector); });
    interrupt(0x41);
    interrupt(0x42, true);
    EXPECT_EQ(read(0x180 + 0x10 * 2), 1u << 2);
    EXPECT_EQ(lapic_.acknowledge_interrupt(), 0x42);
    write(0xb0, 0);
    EXPECT_EQ(lapic_.acknowledge_interrupt(), 0x41);
    write(0xb0, 0);
    EXPECT_EQ(ended, std::vector<uint8_t>{0x42});
    write(0xb0, 0);  // nothing in service
    EXPECT_EQ(ended.size(), 1u);
}

TEST_F(LapicTest, MessagesToOthersAreDropped) {
    lapic_.deliver_message(0xfee01000, 0x41);           // physical, identifier 1
    lapic_.deliver_message(0xfee00000, 0x41 | 4 << 8);  // NMI
    lapic_.deliver_message(0xfed00000, 0x41);           // not an interrupt
    EXPECT_FALSE(lapic_.interrupt_pending());
    lapic_.deliver_message(0xfeeff000, 0x41);  // to all
    EXPECT_TRUE(lapic_.interrupt_pending());
}

TEST_F(LapicTest, LogicalDestination) {
    write(0xd0, 0x02000000);
    lapic_.deliver_message(0xfee01004, 0x41);
    EXPECT_FALSE(lapic_.interrupt_pending());
    lapic_.deliver_message(0xfee03004, 0x41);
    EXPECT_TRUE(lapic_.interrupt_pending());
}

TEST_F(LapicTest, SelfInterrupts) {
    write(0x300, 0x40041);
    EXPECT_EQ(lapic_.acknowledge_interrupt(), 0x41);
    write(0xb0, 0);
    write(0x310, 0);
    write(0x300, 0x42);  // to identifier 0
    EXPECT_EQ(lapic_.acknowledge_interrupt(), 0x42);
    write(0xb0, 0);
    write(0x300, 0xc0043);  // all but self
    EXPECT_FALSE(lapic_.interrupt_pending());
    enter_x2apic();
    EXPECT_TRUE(lapic_.write_msr(0x83f, 0x44));
    EXPECT_EQ(lapic_.acknowledge_interrupt(), 0x44);
}

TEST_F(LapicTest, OneShotTimer) {
    write(0x320, 0x41);
    write(0x3e0, 0xb);  // divide by 1
    write(0x380, 1000);
    time_.pass(400);
    EXPECT_EQ(read(0x390), 600u);
    EXPECT_FALSE(lapic_.interrupt_pending());
    time_.pass(599);
    EXPECT_FALSE(lapic_.interrupt_pending());
    time_.pass(1);
    EXPECT_EQ(lapic_.acknowledge_interrupt(), 0x41);
    EXPECT_EQ(read(0x390), 0u);
    write(0xb0, 0);
    time_.pass(5000);
    EXPECT_FALSE(lapic_.interrupt_pending());
}

TEST_F(LapicTest, DividedPeriodicTimer) {
    write(0x320, 0x41 | 1 << 17);
    write(0x3e0, 0x3);  // divide by 16
    write(0x380, 10);
    for (int i = 0; i < 3; ++i) {
        time_.pass(159);
        EXPECT_FALSE(lapic_.interrupt_pending());
        time_.pass(1);
        EXPECT_EQ(lapic_.acknowledge_interrupt(), 0x41);
        write(0xb0, 0);
    }
    write(0x380, 0);
    time_.pass(1000);
    EXPECT_FALSE(lapic_.interrupt_pending());
}

TEST_F(LapicTest, PeriodicTimerDoesNotMakeUpForAJump) {
    write(0x320, 0x41 | 1 << 17);
    write(0x3e0, 0xb);
    write(0x380, 100);
    time_.clock.advance(time_.now, 1'000'000'050);
    time_.timers.clock_changed();
    time_.timers.run_due();
    EXPECT_EQ(lapic_.acknowledge_interrupt(), 0x41);
    EXPECT_EQ(read(0x390), 50u);
}

TEST_F(LapicTest, TscDeadline) {
    write(0x320, 0x41 | 2 << 17);
    uint64_t now = *lapic_.read_msr(0x10);
    ASSERT_TRUE(lapic_.write_msr(0x6e0, now + 500));
    EXPECT_EQ(time_.timers.next_event(), time_.now + 500);
    EXPECT_EQ(lapic_.read_msr(0x6e0), now + 500);
    time_.pass(500);
    EXPECT_EQ(lapic_.acknowledge_interrupt(), 0x41);
    EXPECT_EQ(lapic_.read_msr(0x6e0), 0u);
    write(0xb0, 0);
    lapic_.write_msr(0x6e0, 1);  // long past: at once
    EXPECT_LE(time_.timers.next_event(), time_.now);
    time_.pass(0);
    EXPECT_TRUE(lapic_.interrupt_pending());
}

TEST_F(LapicTest, TscDeadlineIsIgnoredInOtherModes) {
    lapic_.write_msr(0x6e0, 5);
    EXPECT_EQ(lapic_.read_msr(0x6e0), 0u);
    EXPECT_EQ(time_.timers.next_event(), kNeverIcount);
}

TEST_F(LapicTest, WritingTheTscMovesTheDeadline) {
    write(0x320, 0x41 | 2 << 17);
    lapic_.write_msr(0x10, 1'000'000);
    EXPECT_EQ(*lapic_.read_msr(0x10), 1'000'000u);
    EXPECT_EQ(*lapic_.read_msr(0x3b), 1'000'000u - time_.now.value());
    lapic_.write_msr(0x6e0, 1'000'300);
    EXPECT_EQ(time_.timers.next_event(), time_.now + 300);
    lapic_.write_msr(0x10, 1'000'200);
    EXPECT_EQ(time_.timers.next_event(), time_.now + 100);
}

TEST_F(LapicTest, MaskedTimerRaisesNothing) {
    write(0x320, 0x10041);
    write(0x3e0, 0xb);
    write(0x380, 100);
    time_.pass(200);
    EXPECT_FALSE(lapic_.interrupt_pending());
}

TEST_F(LapicTest, ApicBaseTransitions) {
    EXPECT_EQ(lapic_.read_msr(0x1b), 0xfee00900u);
    EXPECT_FALSE(lapic_.write_msr(0x1b, 0xfee00500)) << "x2APIC without enable";
    EXPECT_FALSE(lapic_.write_msr(0x1b, 0xfed00900)) << "another address";
    enter_x2apic();
    EXPECT_FALSE(lapic_.write_msr(0x1b, 0xfee00900)) << "straight back to xAPIC";
    EXPECT_EQ(static_cast<uint32_t>(lapic_.read_register(0x30, 4)), ~0u) << "no registers in memory";
    EXPECT_TRUE(lapic_.write_msr(0x1b, 0xfee00100));
    EXPECT_FALSE(lapic_.write_msr(0x1b, 0xfee00d00)) << "from off to x2APIC";
    EXPECT_TRUE(lapic_.write_msr(0x1b, 0xfee00900));
    EXPECT_EQ(read(0xf0), 0xffu) << "switching off resets";
}

TEST_F(LapicTest, X2apicRegistersAreMsrs) {
    EXPECT_FALSE(lapic_.read_msr(0x802).has_value());
    EXPECT_FALSE(lapic_.write_msr(0x80b, 0));
    enter_x2apic();
    EXPECT_EQ(lapic_.read_msr(0x802), 0u);
    EXPECT_EQ(lapic_.read_msr(0x80d), 1u);
    EXPECT_EQ(lapic_.read_msr(0x80f), 0x1ffu);
    EXPECT_FALSE(lapic_.read_msr(0x80e).has_value());
    EXPECT_FALSE(lapic_.read_msr(0x831).has_value());
    EXPECT_FALSE(lapic_.read_msr(0x8ff).has_value());
    EXPECT_FALSE(lapic_.write_msr(0x80d, 1));
    EXPECT_FALSE(lapic_.write_msr(0x80b, 1));
    EXPECT_FALSE(lapic_.write_msr(0x808, uint64_t{1} << 32));
    EXPECT_TRUE(lapic_.write_msr(0x830, 0x41));  // 64-bit command, to identifier 0
    EXPECT_EQ(lapic_.acknowledge_interrupt(), 0x41);
}

TEST_F(LapicTest, ErrorsAreCollectedUntilWritten) {
    write(0x300, 0x40005);
    EXPECT_EQ(read(0x280), 0u);
    write(0x280, 0);
    EXPECT_EQ(read(0x280), 0x20u);
    write(0x280, 0);
    EXPECT_EQ(read(0x280), 0u);
}

TEST_F(LapicTest, TimerSurvivesSaveAndLoad) {
    write(0x320, 0x41 | 2 << 17);
    lapic_.write_msr(0x6e0, *lapic_.read_msr(0x10) + 500);
    Bytes state = saved(lapic_);
    TestTime other_time;
    Lapic other(other_time.timers);
    ASSERT_TRUE(loads(other, state));
    EXPECT_EQ(other_time.timers.next_event(), time_.timers.next_event());
    other_time.pass(500);
    EXPECT_EQ(other.acknowledge_interrupt(), 0x41);
}

}  // namespace
}  // namespace lockstep::devices
