// SPDX-License-Identifier: Apache-2.0
#include "replica/lag_control.h"

#include <gtest/gtest.h>

namespace lockstep::replica {
namespace {

constexpr uint64_t kBuffer = 1000;

LagControl make() { return LagControl(Timing{}, kBuffer, LogPos(10), Icount(500)); }

TEST(LagControl, LagIsTheAgeOfTheOldestMarkNotExecuted) {
    LagControl lag = make();
    EXPECT_EQ(lag.lag_ms(), 0u);
    lag.sent(1000, LogPos(11), Icount(600), 10);
    lag.sent(1100, LogPos(12), Icount(700), 10);
    EXPECT_EQ(lag.lag_icount(), 200u);
    EXPECT_EQ(lag.buffered_bytes(), 20u);
    lag.acknowledged(1150, LogPos(12), LogPos(10), Icount(599));
    EXPECT_EQ(lag.lag_ms(), 150u);

    lag.acknowledged(1150, LogPos(12), LogPos(11), Icount(600));
    EXPECT_EQ(lag.lag_ms(), 50u);
    EXPECT_EQ(lag.lag_icount(), 100u);
    EXPECT_EQ(lag.buffered_bytes(), 10u);

    // The entry is executed but the instructions after it are not.
    lag.acknowledged(1160, LogPos(12), LogPos(12), Icount(699));
    EXPECT_EQ(lag.lag_ms(), 60u);
    lag.acknowledged(1170, LogPos(12), LogPos(12), Icount(700));
    EXPECT_EQ(lag.lag_ms(), 0u);
    EXPECT_EQ(lag.buffered_bytes(), 0u);
}

TEST(LagControl, TheTimeBetweenTwoReportsIsNoLag) {
    LagControl lag = make();
    lag.sent(1000, LogPos(11), Icount(600), 10);
    lag.acknowledged(1001, LogPos(11), LogPos(10), Icount(500));  // on receipt
    EXPECT_EQ(lag.lag_ms(), 1u);
    lag.update(1090);
    EXPECT_EQ(lag.lag_ms(), 1u);
}

TEST(LagControl, KnowsSinceWhenAnEntryIsNotAcknowledged) {
    LagControl lag = make();
    EXPECT_FALSE(lag.unacknowledged_since());
    lag.sent(1000, LogPos(11), Icount(600), 10);
    lag.sent(1100, LogPos(11), Icount(650), 0);  // progress only
    lag.sent(1200, LogPos(12), Icount(700), 10);
    EXPECT_EQ(lag.unacknowledged_since(), 1000u);
    lag.acknowledged(1300, LogPos(11), LogPos(10), Icount(500));
    EXPECT_EQ(lag.unacknowledged_since(), 1200u);
    lag.acknowledged(1300, LogPos(12), LogPos(10), Icount(500));
    EXPECT_FALSE(lag.unacknowledged_since());
}

TEST(LagControl, SlowsLittleByLittleAndRecovers) {
    Timing timing;
    LagControl lag = make();
    lag.sent(1000, LogPos(11), Icount(600), 10);
    uint64_t now = 1000 + timing.lag_slow_ms;
    lag.acknowledged(now, LogPos(11), LogPos(10), Icount(500));
    lag.update(now);
    EXPECT_EQ(lag.speed(), LagControl::kFullSpeed);

    uint32_t before = lag.speed();
    for (; now < 4000; now += 10) {
        lag.acknowledged(now, LogPos(11), LogPos(10), Icount(500));
        lag.update(now);
        EXPECT_LE(before - lag.speed(), LagControl::kStep) << "at most one step at a time";
        before = lag.speed();
    }
    EXPECT_EQ(lag.speed(), LagControl::kLeastSpeed);

    lag.acknowledged(now, LogPos(11), LogPos(11), Icount(600));
    for (; now < 6000; now += 10) lag.update(now);
    EXPECT_EQ(lag.speed(), LagControl::kFullSpeed);
}

TEST(LagControl, AModerateLagMakesAModerateSpeed) {
    Timing timing;
    LagControl lag = make();
    uint64_t middle = (timing.lag_slow_ms + timing.lag_most_ms) / 2;
    uint64_t now = 10'000;
    for (uint64_t position = 11; position < 500; ++position, now += 50) {
        lag.sent(now - middle, LogPos(position), Icount(position * 100), 0);
        lag.acknowledged(now, LogPos(position), LogPos(position - 1), Icount(position * 100 - 100));
        lag.update(now);
    }
    EXPECT_NEAR(lag.speed(), (LagControl::kFullSpeed + LagControl::kLeastSpeed) / 2, LagControl::kStep);
}

TEST(LagControl, AFullBufferStopsTheGuestUntilHalfOfItIsFree) {
    LagControl lag = make();
    for (uint64_t i = 1; i <= 11; ++i) lag.sent(1000 + i, LogPos(10 + i), Icount(500 + i), 100);
    lag.update(1012);
    EXPECT_TRUE(lag.full());
    lag.acknowledged(1013, LogPos(21), LogPos(15), Icount(505));  // 600 of 1000 bytes left
    lag.update(1013);
    EXPECT_TRUE(lag.full());
    lag.acknowledged(1014, LogPos(21), LogPos(16), Icount(506));
    lag.update(1014);
    EXPECT_FALSE(lag.full());
}

TEST(Timing, BoundsThatCannotWorkTogetherAreRefused) {
    EXPECT_FALSE(Timing{}.invalid());
    auto refused = [](auto change) {
        Timing timing;
        change(timing);
        return timing.invalid().has_value();
    };
    EXPECT_TRUE(refused([](Timing& t) { t.heartbeat_ms = 0; }));
    EXPECT_TRUE(refused([](Timing& t) { t.heartbeat_ms = 200; }));
    EXPECT_TRUE(refused([](Timing& t) { t.lease_ms = 60; }));
    EXPECT_TRUE(refused([](Timing& t) { t.lease_ms = 400; }));
    EXPECT_TRUE(refused([](Timing& t) { t.drift_ms = 10; }));
    EXPECT_TRUE(refused([](Timing& t) { t.lag_most_ms = t.lag_slow_ms; }));
    EXPECT_TRUE(refused([](Timing& t) { t.ack_ms = 100; }));
    EXPECT_TRUE(refused([](Timing& t) { t.claim_retry_ms = 0; }));
}

}  // namespace
}  // namespace lockstep::replica
