// SPDX-License-Identifier: Apache-2.0
#include "devices/legacy/hpet.h"

#include "kit.h"

namespace lockstep::devices {
namespace {

// A tick is 10 ns.
class HpetTest : public testing::Test {
  protected:
    static constexpr uint64_t kConfig = 0x10, kStatus = 0x20, kCount = 0xf0;
    static constexpr uint64_t kOn = 1, kReplace = 2;  // of the whole
    static constexpr uint64_t kLevel = 2, kEnabled = 4, kPeriodic = 8, kSet = 0x40,
                              kNarrow = 0x100;  // of a timer

    static uint64_t config_of(unsigned timer) { return 0x100 + 0x20 * timer; }
    static uint64_t comparator_of(unsigned timer) { return config_of(timer) + 8; }
    void write(uint64_t offset, uint64_t value) { hpet_.write_register(offset, 8, value); }
    uint64_t read(uint64_t offset) { return hpet_.read_register(offset, 8); }

    TestTime time_;
    std::array<TestLine, 2> legacy_;
    std::array<TestLine, kHpetTimers> own_;
    Hpet hpet_{{&legacy_[0], &legacy_[1]}, {&own_[0], &own_[1], &own_[2]}, time_.timers};
};

TEST_F(HpetTest, SaysWhatItIs) {
    EXPECT_EQ(read(0) >> 32, 10'000'000u) << "femtoseconds";
    EXPECT_EQ((read(0) >> 8 & 31) + 1, kHpetTimers);
    for (unsigned i = 0; i < kHpetTimers; ++i) {
        uint64_t pin = read(config_of(i)) >> 9 & 31;
        EXPECT_EQ(read(config_of(i)) >> 32, uint64_t{1} << pin) << "its only route is the one that it has";
        EXPECT_EQ(pin, kHpetFirstPin + i);
    }
}

TEST_F(HpetTest, CountsWhileItIsOn) {
    time_.pass(1000);
    EXPECT_EQ(read(kCount), 0u);
    write(kCount, 5);
    write(kConfig, kOn);
    time_.pass(1000);
    EXPECT_EQ(read(kCount), 105u);
    EXPECT_EQ(hpet_.read_register(kCount + 4, 4), 0u);
    write(kConfig, 0);
    time_.pass(1000);
    EXPECT_EQ(read(kCount), 105u);
}

TEST_F(HpetTest, OneShotFiresOnce) {
    write(config_of(2), kEnabled);
    write(comparator_of(2), 1000);
    write(kConfig, kOn);
    time_.pass(9'999);
    EXPECT_EQ(own_[2].rises, 0);
    time_.pass(1);
    EXPECT_EQ(own_[2].rises, 1);
    time_.pass(1'000'000'000);
    EXPECT_EQ(own_[2].rises, 1);
}

// As Linux sets a periodic timer: the comparator, and then the period, both to the same register.
TEST_F(HpetTest, PeriodicFiresEachPeriod) {
    write(kConfig, kOn);
    time_.pass(1'000'000);
    hpet_.write_register(config_of(0), 4, kEnabled | kPeriodic | kSet | kNarrow);
    hpet_.write_register(comparator_of(0), 4, 100'000 + 400);
    hpet_.write_register(comparator_of(0), 4, 400);
    time_.pass(3'999);
    EXPECT_EQ(own_[0].rises, 0);
    time_.pass(1);
    EXPECT_EQ(own_[0].rises, 1);
    time_.pass(400'000);
    EXPECT_EQ(own_[0].rises, 101);
    write(config_of(0), 0);
    time_.pass(400'000);
    EXPECT_EQ(own_[0].rises, 101) << "switched off";
}

TEST_F(HpetTest, NarrowTimersGoRoundWithTheLowHalf) {
    write(kCount, 0x1ffffff00);
    write(kConfig, kOn);
    write(config_of(1), kEnabled | kNarrow);
    write(comparator_of(1), 0x10);
    time_.pass((0x110 - 1) * 10);
    EXPECT_EQ(own_[1].rises, 0);
    time_.pass(10);
    EXPECT_EQ(own_[1].rises, 1);
}

TEST_F(HpetTest, LevelsStandUntilTheirBitIsWritten) {
    write(config_of(1), kEnabled | kLevel);
    write(comparator_of(1), 10);
    write(kConfig, kOn);
    time_.pass(1000);
    EXPECT_TRUE(own_[1].level);
    EXPECT_EQ(read(kStatus), 2u);
    write(kStatus, 1);
    EXPECT_TRUE(own_[1].level);
    write(kStatus, 2);
    EXPECT_FALSE(own_[1].level);
}

TEST_F(HpetTest, TakesThePlacesOfTheLegacyTimers) {
    hpet_.replaced_line(1).set_level(true);
    EXPECT_TRUE(legacy_[1].level);
    write(config_of(0), kEnabled);
    write(comparator_of(0), 10);
    write(kConfig, kOn | kReplace);
    EXPECT_FALSE(legacy_[1].level);
    hpet_.replaced_line(0).set_level(true);
    hpet_.replaced_line(0).set_level(false);
    EXPECT_EQ(legacy_[0].rises, 0);
    time_.pass(1000);
    EXPECT_EQ(legacy_[0].rises, 1);
    EXPECT_EQ(own_[0].rises, 0);
    write(kConfig, 0);
    EXPECT_TRUE(legacy_[1].level) << "the clock's interrupt still stands";
}

TEST_F(HpetTest, HalfOfAStatusWordIsWritten) {
    write(config_of(0), kEnabled | kLevel);
    write(comparator_of(0), 10);
    write(kConfig, kOn);
    time_.pass(1000);
    hpet_.write_register(kStatus, 4, 0);
    hpet_.write_register(kStatus + 4, 4, ~0u);
    EXPECT_TRUE(own_[0].level);
    hpet_.write_register(kStatus, 4, 1);
    EXPECT_FALSE(own_[0].level);
}

}  // namespace
}  // namespace lockstep::devices
