// SPDX-License-Identifier: Apache-2.0
#include "devices/rtc/rtc.h"

#include "kit.h"

namespace lockstep::devices {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
// 2023-11-14 22:13:20, a Tuesday.
constexpr uint64_t kStart = 1'700'000'000 * kSecond;

class RtcTest : public testing::Test {
  protected:
    uint8_t read(uint8_t reg) {
        rtc_.write_register(0, 1, reg);
        return static_cast<uint8_t>(rtc_.read_register(1, 1));
    }
    void write(uint8_t reg, uint8_t value) {
        rtc_.write_register(0, 1, reg);
        rtc_.write_register(1, 1, value);
    }

    TestTime time_;
    TestLine line_;
    Rtc rtc_{kStart, line_, time_.timers};
};

TEST_F(RtcTest, TellsTheTimeInBcd) {
    EXPECT_EQ(read(0), 0x20);
    EXPECT_EQ(read(2), 0x13);
    EXPECT_EQ(read(4), 0x22);
    EXPECT_EQ(read(6), 3);
    EXPECT_EQ(read(7), 0x14);
    EXPECT_EQ(read(8), 0x11);
    EXPECT_EQ(read(9), 0x23);
    EXPECT_EQ(read(0x32), 0x20);
    EXPECT_EQ(read(0x0d), 0x80);
    EXPECT_EQ(read(0x0a) & 0x80, 0) << "never in the midst of an update";
}

TEST_F(RtcTest, FollowsGuestTime) {
    time_.pass(41 * kSecond);
    EXPECT_EQ(read(0), 0x01);
    EXPECT_EQ(read(2), 0x14);
}

TEST_F(RtcTest, BinaryAndTwelveHours) {
    write(0x0b, 0x06);
    EXPECT_EQ(read(4), 22);
    write(0x0b, 0x04);
    EXPECT_EQ(read(4), 0x80 | 10);
    write(0x0b, 0x00);
    EXPECT_EQ(read(4), 0x80 | 0x10);
}

TEST_F(RtcTest, CanBeSet) {
    write(0x0b, 0x82);
    const uint8_t values[][2] = {{0, 0x59}, {2, 0x59}, {4, 0x23},   {7, 0x31},
                                 {8, 0x12}, {9, 0x99}, {0x32, 0x19}};
    for (auto [reg, value] : values) write(reg, value);
    EXPECT_EQ(read(0), 0x59);
    time_.pass(5 * kSecond);
    EXPECT_EQ(read(0), 0x59) << "stands still while it is set";
    write(0x0b, 0x02);
    time_.pass(kSecond);
    EXPECT_EQ(read(0), 0);
    EXPECT_EQ(read(7), 0x01);
    EXPECT_EQ(read(9), 0x00);
    EXPECT_EQ(read(0x32), 0x20);
}

TEST_F(RtcTest, NonsenseIsNotTakenAsATime) {
    write(0x0b, 0x82);
    write(8, 0x77);
    write(0x0b, 0x02);
    EXPECT_EQ(read(8), 0x11);
    EXPECT_EQ(read(0), 0x20);
}

TEST_F(RtcTest, MemoryKeepsItsBytes) {
    write(0x40, 0x5a);
    EXPECT_EQ(read(0x40), 0x5a);
    write(0x0d, 0);
    EXPECT_EQ(read(0x0d), 0x80);
}

TEST_F(RtcTest, UpdateInterruptEverySecond) {
    write(0x0b, 0x12);
    time_.pass(2 * kSecond);
    EXPECT_TRUE(line_.level);
    EXPECT_EQ(read(0x0c), 0x90);
    EXPECT_FALSE(line_.level);
    EXPECT_EQ(read(0x0c), 0x00);
    time_.pass(kSecond);
    EXPECT_TRUE(line_.level);
}

TEST_F(RtcTest, AlarmAtItsTime) {
    write(1, 0x05);
    write(3, 0x14);
    write(5, 0xff);  // any hour
    write(0x0b, 0x22);
    time_.pass(44 * kSecond);
    EXPECT_FALSE(line_.level);
    time_.pass(kSecond);
    EXPECT_TRUE(line_.level);
    EXPECT_EQ(read(0x0c) & 0xa0, 0xa0);
    EXPECT_EQ(line_.rises, 1);
    time_.pass(3600 * kSecond);
    EXPECT_EQ(line_.rises, 2);
}

TEST_F(RtcTest, PeriodicInterrupts) {
    write(0x0a, 0x26);  // 1024 Hz
    write(0x0b, 0x42);
    int count = 0;
    for (int i = 0; i < 1000; ++i) {
        time_.pass(1'000'000);
        if (read(0x0c) & 0x40) ++count;
    }
    EXPECT_NEAR(count, 1000, 30);
    EXPECT_GE(line_.rises, 970);
}

TEST_F(RtcTest, UpdateFlagWithoutInterrupt) {
    read(0x0c);
    time_.pass(kSecond);
    EXPECT_EQ(read(0x0c), 0x10);
    EXPECT_FALSE(line_.level);
}

// A start within a second: the next one begins when the host's does.
TEST_F(RtcTest, StartsWithinASecond) {
    Rtc rtc(kStart + 300'000'000, line_, time_.timers);
    auto seconds = [&] {
        rtc.write_register(0, 1, 0);
        return rtc.read_register(1, 1);
    };
    time_.pass(690'000'000);
    EXPECT_EQ(seconds(), 0x20u);
    time_.pass(20'000'000);
    EXPECT_EQ(seconds(), 0x21u);
}

// As Linux does it: the divider is stopped meanwhile, and the next second begins half a second later.
TEST_F(RtcTest, SetWithTheDividerStopped) {
    time_.pass(200'000'000);
    write(0x0b, 0x82);
    write(0x0a, 0x76);
    write(0, 0x30);
    write(0x0b, 0x02);
    write(0x0a, 0x26);
    time_.pass(490'000'000);
    EXPECT_EQ(read(0), 0x30);
    time_.pass(20'000'000);
    EXPECT_EQ(read(0), 0x31);
}

TEST_F(RtcTest, SetWithoutThatItKeepsItsPace) {
    time_.pass(200'000'000);
    write(0x0b, 0x82);
    write(0, 0x30);
    write(0x0b, 0x02);
    time_.pass(790'000'000);
    EXPECT_EQ(read(0), 0x30);
    time_.pass(20'000'000);
    EXPECT_EQ(read(0), 0x31);
}

TEST_F(RtcTest, ABatteryKeepsTimeAlarmAndMemoryOverAReset) {
    time_.pass(3 * kSecond);
    write(0, 0x50);
    write(0x40, 0x5a);
    write(1, 0x55);
    write(0x0b, 0x32);
    time_.pass(kSecond);
    EXPECT_TRUE(line_.level);
    rtc_.reset();
    EXPECT_FALSE(line_.level);
    EXPECT_EQ(read(0), 0x51);
    EXPECT_EQ(read(0x40), 0x5a);
    EXPECT_EQ(read(1), 0x55);
    EXPECT_EQ(read(0x0b), 0x02) << "but interrupts are off";
    time_.pass(kSecond);
    EXPECT_FALSE(line_.level);
}

TEST_F(RtcTest, AlarmsWakeUpTheMachine) {
    int alarms = 0;
    rtc_.set_alarm_listener([&] { ++alarms; });
    write(1, 0x25);
    write(3, 0xff);
    write(5, 0xff);
    time_.pass(10 * kSecond);
    EXPECT_EQ(alarms, 0) << "not enabled";
    write(1, 0x35);
    write(0x0b, 0x22);
    time_.pass(4 * kSecond);
    EXPECT_EQ(alarms, 0);
    time_.pass(kSecond);
    EXPECT_EQ(alarms, 1);
}

}  // namespace
}  // namespace lockstep::devices
