// SPDX-License-Identifier: Apache-2.0
#include "devices/legacy/pit.h"

#include "devices/legacy/pic.h"
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

class PicTest : public testing::Test {
  protected:
    PicTest() {
        for (unsigned chip : {0u, 1u}) {
            write(chip, 0, 0x11);
            for (unsigned word : {0x30u + 8 * chip, 4u - 2 * chip, 1u}) write(chip, 1, word);
        }
    }
    void write(unsigned chip, uint64_t offset, uint64_t value) {
        pic_.chip(chip).write_register(offset, 1, value);
    }
    uint64_t read(unsigned chip, uint64_t offset) { return pic_.chip(chip).read_register(offset, 1); }
    void pulse(unsigned input) {
        pic_.line(input).set_level(true);
        pic_.line(input).set_level(false);
    }
    void end(unsigned chip) { write(chip, 0, 0x20); }

    Pic pic_;
};

TEST_F(PicTest, MasksReadBack) {
    for (unsigned chip : {0u, 1u}) {
        EXPECT_EQ(read(chip, 1), 0u) << "cleared by the initialisation, whose words are no masks";
        write(chip, 1, 0xfb);
        EXPECT_EQ(read(chip, 1), 0xfbu);
    }
}

TEST_F(PicTest, EdgesAreTakenByPriorityAndHoldLowerOnesOff) {
    pulse(4);
    pulse(0);
    EXPECT_TRUE(pic_.interrupt_pending());
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x30);
    EXPECT_FALSE(pic_.interrupt_pending()) << "input 0 is in service";
    end(0);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x34);
    pulse(0);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x30) << "a higher one interrupts";
    end(0);
    end(0);
    EXPECT_FALSE(pic_.interrupt_pending());
}

TEST_F(PicTest, MaskedInputsWait) {
    write(0, 1, 0x10);
    pulse(4);
    EXPECT_FALSE(pic_.interrupt_pending());
    EXPECT_EQ(read(0, 0), 0x10u);
    write(0, 1, 0);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x34);
    write(0, 0, 0x0b);
    EXPECT_EQ(read(0, 0), 0x10u) << "in service";
    write(0, 0, 0x64);
    EXPECT_EQ(read(0, 0), 0u) << "ended by name";
}

TEST_F(PicTest, TheSecondChipComesByInputTwo) {
    pulse(8);
    pulse(4);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x38);
    EXPECT_FALSE(pic_.interrupt_pending()) << "input 2 is in service";
    pulse(9);
    end(1);
    end(0);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x39);
    end(1);
    end(0);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x34);
}

TEST_F(PicTest, LevelsComeAgainUntilTheyFall) {
    pic_.level_ports().write_register(1, 1, 0xff);
    EXPECT_EQ(pic_.level_ports().read_register(1, 1), 0xdeu);
    pic_.line(9).set_level(true);
    for (unsigned i = 0; i < 2; ++i) {
        EXPECT_EQ(pic_.acknowledge_interrupt(), 0x39) << i;
        end(1);
        end(0);
    }
    EXPECT_TRUE(pic_.interrupt_pending());
    pic_.line(9).set_level(false);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x3f) << "it fell before it was taken: spurious";
}

TEST_F(PicTest, AutomaticEnds) {
    write(0, 0, 0x11);
    for (unsigned word : {0x30u, 4u, 3u}) write(0, 1, word);
    pulse(0);
    pulse(1);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x30);
    EXPECT_EQ(pic_.acknowledge_interrupt(), 0x31);
    EXPECT_FALSE(pic_.interrupt_pending());
}

}  // namespace
}  // namespace lockstep::devices
