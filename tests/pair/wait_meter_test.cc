// SPDX-License-Identifier: Apache-2.0
#include "pair/wait_meter.h"

#include <gtest/gtest.h>

namespace lockstep::pair {
namespace {

TEST(WaitMeter, NothingHasWaited) {
    WaitMeter meter;
    EXPECT_EQ(meter.count(), 0u);
    EXPECT_EQ(meter.mean_ns(), 0u);
    EXPECT_EQ(meter.quantile_ns(500), 0u);
}

TEST(WaitMeter, QuantilesAreCloseFromAbove) {
    WaitMeter meter;
    for (uint64_t ns = 1; ns <= 1'000'000; ++ns) meter.add(ns);
    EXPECT_EQ(meter.mean_ns(), 500'000u);
    for (unsigned permille : {1u, 10u, 500u, 900u, 990u}) {
        uint64_t exact = permille * 1000;
        EXPECT_GE(meter.quantile_ns(permille), exact);
        EXPECT_LE(meter.quantile_ns(permille), exact + exact / 16 + 1);
    }
    EXPECT_EQ(meter.quantile_ns(1000), 1'000'000u);
}

TEST(WaitMeter, TheSmallestAndTheGreatestHaveTheirPlace) {
    WaitMeter meter;
    meter.add(0);
    EXPECT_EQ(meter.quantile_ns(500), 0u);
    meter.add(~uint64_t{0});
    EXPECT_EQ(meter.quantile_ns(500), 0u);
    EXPECT_EQ(meter.quantile_ns(990), ~uint64_t{0});
}

TEST(WaitMeter, AFewLongOnesDoNotMoveTheMedian) {
    WaitMeter meter;
    for (int i = 0; i < 99; ++i) meter.add(50'000);
    meter.add(5'000'000'000);
    EXPECT_LE(meter.quantile_ns(500), 53'200u);
    EXPECT_LE(meter.quantile_ns(990), 53'200u);
    EXPECT_EQ(meter.quantile_ns(1000), 5'000'000'000u);
}

}  // namespace
}  // namespace lockstep::pair
