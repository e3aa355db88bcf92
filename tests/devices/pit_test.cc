// SPDX-License-Identifier: Apache-2.0
#include "devices/legacy/pit.h"

#include "kit.h"

namespace lockstep::devices {
namespace {

class PitTest : public testing::Test {
  protected:
    void write(uint64_t offset, uint8_t value) { pit_.write_register(offset, 1, value); }
    uint8_t read(uint64_t offset) { return static_cast<uint8_t>(pit_.read_register(offset, 1)); }
    uint16_t read_count(uint64_t channel) {
        uint8_t low = read(channel);
        return static_cast<uint16_t>(low | read(channel) << 8);
    }
    uint8_t control() { return static_cast<uint8_t>(pit_.control_port().read_register(0, 1)); }
    void set_control(uint8_t value) { pit_.control_port().write_register(0, 1, value); }

    TestTime time_;
    TestLine line_;
    Pit pit_{line_, time_.timers};
};

// What a kernel does to measure its clocks: channel 2 in mode 0, watched through port 61.
TEST_F(PitTest, ChannelTwoEndsWhenItsTicksHavePassed) {
    set_control(0);
    write(3, 0xb0);
    write(2, 0x9b);
    write(2, 0x2e);  // 11931 ticks, 10 ms
    time_.pass(20'000'000);
    EXPECT_FALSE(control() & 0x20) << "the gate is closed";
    set_control(1);
    EXPECT_FALSE(control() & 0x20);
    time_.pass(9'990'000);
    EXPECT_FALSE(control() & 0x20);
    time_.pass(20'000);
    EXPECT_TRUE(control() & 0x20);
}

TEST_F(PitTest, CountsDown) {
    write(3, 0xb0);
    set_control(1);
    write(2, 0xff);
    write(2, 0xff);
    uint16_t before = read_count(2);
    time_.pass(1'000'000);
    EXPECT_NEAR(before - read_count(2), 1193, 1);
}

TEST_F(PitTest, LatchedCountStandsStill) {
    write(3, 0x34);
    write(0, 0);
    write(0, 0x10);
    write(3, 0x00);
    time_.pass(100'000);
    EXPECT_EQ(read_count(0), 0x1000);
    EXPECT_NEAR(read_count(0), 0x1000 - 119, 1);
}

TEST_F(PitTest, PeriodicInterrupts) {
    write(3, 0x34);
    write(0, 0xa9);
    write(0, 0x04);  // 1193 ticks, about 1 ms
    time_.pass(100'000'000);
    EXPECT_NEAR(line_.rises, 100, 1);
}

TEST_F(PitTest, OneShotInterrupt) {
    write(3, 0x30);
    write(0, 0xa9);
    write(0, 0x04);
    time_.pass(100'000'000);
    EXPECT_EQ(line_.rises, 1);
}

TEST_F(PitTest, StatusReadsBack) {
    write(3, 0x34);
    write(3, 0xe2);
    EXPECT_EQ(read(0) & 0x3f, 0x34);
}

}  // namespace
}  // namespace lockstep::devices
