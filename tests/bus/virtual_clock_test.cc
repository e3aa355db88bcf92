// SPDX-License-Identifier: Apache-2.0
#include "bus/virtual_clock.h"

#include <gtest/gtest.h>

#include <random>

namespace lockstep::bus {
namespace {

TEST(VirtualClock, StartsAtZeroWithOneTickAnInstruction) {
    VirtualClock clock;
    EXPECT_EQ(clock.tsc(Icount(0)), 0u);
    EXPECT_EQ(clock.tsc(Icount(12345)), 12345u);
    EXPECT_EQ(clock.rate(), kRateOne);
}

TEST(VirtualClock, RateChangesKeepTimeMonotonic) {
    VirtualClock clock;
    clock.set_rate(Icount(1000), kRateOne / 4);
    EXPECT_EQ(clock.tsc(Icount(1000)), 1000u);
    EXPECT_EQ(clock.tsc(Icount(1004)), 1001u);
    clock.set_rate(Icount(1007), 3 * kRateOne);
    EXPECT_EQ(clock.tsc(Icount(1007)), 1001u);
    EXPECT_EQ(clock.tsc(Icount(1008)), 1004u);
}

TEST(VirtualClock, AdvanceJumpsForward) {
    VirtualClock clock;
    clock.advance(Icount(10), 500);
    EXPECT_EQ(clock.tsc(Icount(10)), 510u);
    EXPECT_EQ(clock.tsc(Icount(11)), 511u);
}

// The contract of icount_at(): the first icount at which time has come, at any rate.
TEST(VirtualClock, IcountAtIsTheFirstIcountThatReachesTheTime) {
    std::mt19937_64 random(7);
    VirtualClock clock;
    Icount now(0);
    for (int i = 0; i < 20000; ++i) {
        uint64_t wanted = clock.tsc(now) + random() % 1'000'000;
        Icount at = clock.icount_at(wanted);
        ASSERT_GE(clock.tsc(at), wanted);
        if (at > now) {
            ASSERT_LT(clock.tsc(at - 1), wanted);
        }
        now += random() % 100'000;
        if (i % 3 == 0) clock.set_rate(now, 1 + random() % (kRateOne * 8));
        if (i % 7 == 0) clock.advance(now, random() % 1000);
    }
}

TEST(VirtualClock, IcountAtOfThePastAndOfTheFarFuture) {
    VirtualClock clock;
    clock.set_rate(Icount(100), 1);
    EXPECT_EQ(clock.icount_at(5), Icount(100));
    EXPECT_EQ(clock.icount_at(~uint64_t{0}), kNeverIcount);
}

TEST(VirtualClock, LargeCountsDoNotOverflow) {
    VirtualClock clock;
    clock.set_rate(Icount(0), kRateOne * 4);
    EXPECT_EQ(clock.tsc(Icount(uint64_t{1} << 60)), uint64_t{1} << 62);
}

TEST(VirtualClock, SaveAndLoadKeepTheTime) {
    VirtualClock clock, copy;
    clock.advance(Icount(10), 500);
    clock.set_rate(Icount(77), kRateOne / 3);
    Bytes bytes;
    ByteWriter out(bytes);
    clock.save(out);
    ByteReader in(bytes);
    copy.load(in);
    EXPECT_TRUE(in.ok());
    EXPECT_EQ(in.remaining(), 0u);
    EXPECT_EQ(copy.tsc(Icount(1000)), clock.tsc(Icount(1000)));
    EXPECT_EQ(copy.rate(), clock.rate());
}

TEST(VirtualClockDeathTest, RateZeroIsRefused) {
    VirtualClock clock;
    EXPECT_DEATH(clock.set_rate(Icount(0), 0), "guest time");
}

}  // namespace
}  // namespace lockstep::bus
