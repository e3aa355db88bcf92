// SPDX-License-Identifier: Apache-2.0
#include "devices/power/power.h"

#include "kit.h"

namespace lockstep::devices {
namespace {

class PowerTest : public testing::Test {
  protected:
    TestTime time_;
    TestLine sci_;
    Power power_{sci_, time_.timers};
};

TEST_F(PowerTest, SleepTypeFiveSwitchesOff) {
    power_.write_register(4, 2, 5 << 10);
    EXPECT_EQ(power_.request(), PowerRequest::kNone);
    power_.write_register(4, 2, 3 << 10 | 1 << 13);
    EXPECT_EQ(power_.request(), PowerRequest::kNone);
    power_.write_register(4, 2, 5 << 10 | 1 << 13);
    EXPECT_EQ(power_.request(), PowerRequest::kPowerOff);
    EXPECT_EQ(power_.read_register(4, 2) & (1 << 13), 0u);
    power_.reset();
    EXPECT_EQ(power_.request(), PowerRequest::kNone);
}

TEST_F(PowerTest, AcpiModeIsOn) {
    EXPECT_EQ(power_.read_register(4, 2), 1u);
    power_.write_register(4, 2, 0);
    EXPECT_EQ(power_.read_register(4, 2), 1u);
}

TEST_F(PowerTest, ButtonRaisesTheSystemControlInterrupt) {
    power_.control(record::PowerAction::kButton);
    EXPECT_FALSE(sci_.level);
    power_.write_register(2, 2, 1 << 8);
    EXPECT_TRUE(sci_.level);
    EXPECT_EQ(power_.read_register(0, 2), 1u << 8);
    power_.write_register(0, 2, 1 << 8);
    EXPECT_FALSE(sci_.level);
    EXPECT_EQ(power_.read_register(0, 2), 0u);
    EXPECT_EQ(power_.request(), PowerRequest::kNone);
}

TEST_F(PowerTest, ResetRegister) {
    power_.reset_port().write_register(0, 1, 2);
    EXPECT_EQ(power_.request(), PowerRequest::kNone);
    power_.reset_port().write_register(0, 1, 6);
    EXPECT_EQ(power_.request(), PowerRequest::kReset);
}

TEST_F(PowerTest, KeyboardControllerPulse) {
    power_.keyboard_port().write_register(0, 1, 0xd1);
    EXPECT_EQ(power_.request(), PowerRequest::kNone);
    EXPECT_EQ(power_.keyboard_port().read_register(0, 1) & 2, 0u);
    power_.keyboard_port().write_register(0, 1, 0xfe);
    EXPECT_EQ(power_.request(), PowerRequest::kReset);
}

TEST_F(PowerTest, OperatorMayResetAndSwitchOff) {
    power_.control(record::PowerAction::kPowerOff);
    EXPECT_EQ(power_.request(), PowerRequest::kPowerOff);
    power_.control(record::PowerAction::kReset);
    EXPECT_EQ(power_.request(), PowerRequest::kReset);
}

TEST_F(PowerTest, TimerRunsAtItsFrequency) {
    uint64_t before = power_.read_register(8, 4);
    time_.pass(1'000'000'000);
    uint64_t after = power_.read_register(8, 4);
    EXPECT_NEAR(static_cast<double>((after - before) & 0xffffff), 3579545, 1);
    EXPECT_LT(after, 1u << 24);
}

}  // namespace
}  // namespace lockstep::devices
