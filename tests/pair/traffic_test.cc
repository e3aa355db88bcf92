// SPDX-License-Identifier: Apache-2.0
#include "pair/traffic/traffic.h"

#include <gtest/gtest.h>

namespace lockstep::pair::traffic {
namespace {

constexpr uint64_t kStart = 5'000'000'000;
constexpr Sleeper kAsleep{.slept_long = true, .elsewhere = true};

TEST(Traffic, APacketForASleepingGuestIsPolledForUntilItsAnswerLeaves) {
    Traffic traffic(LowLatency::kYes);
    EXPECT_FALSE(traffic.polls(0, true, kStart));
    traffic.packet_came(1, kAsleep, kStart);
    EXPECT_TRUE(traffic.polls(0, false, kStart)) << "the guest has had no time to wake up";
    uint64_t awake_ns = kStart + kBounds.wake_up_ns;
    EXPECT_TRUE(traffic.polls(0, true, awake_ns));
    EXPECT_TRUE(traffic.polls(1, false, awake_ns)) << "its answer waits for the backup";
    EXPECT_FALSE(traffic.polls(0, false, awake_ns)) << "it sleeps again, and has none";
    traffic.outputs_left(awake_ns);
    EXPECT_FALSE(traffic.polls(0, true, awake_ns));
}

TEST(Traffic, NobodyPollsForAGuestThatIsAwakeOrBesideOrWhereItIsForgone) {
    for (Sleeper guest :
         {Sleeper{.slept_long = false, .elsewhere = true}, Sleeper{.slept_long = true, .elsewhere = false}}) {
        Traffic traffic(LowLatency::kYes);
        traffic.packet_came(1, guest, kStart);
        EXPECT_FALSE(traffic.polls(1, true, kStart));
    }
    Traffic forgone(LowLatency::kNo);
    forgone.packet_came(1, kAsleep, kStart);
    EXPECT_FALSE(forgone.polls(1, true, kStart));
}

TEST(Traffic, OnlyPacketsOfABusyGuestMayLie) {
    Traffic traffic(LowLatency::kYes);
    uint64_t now_ns = kStart;
    for (uint64_t packets = 1; packets <= 100; ++packets)
        traffic.packet_came(packets, {}, now_ns += kBounds.rest_window_ns / 10);
    EXPECT_EQ(traffic.rest_ns(true, 0, now_ns), kBounds.rest_ns);
    EXPECT_EQ(traffic.rest_ns(false, 0, now_ns), 0u) << "it sleeps";
    EXPECT_EQ(traffic.rest_ns(true, 1, now_ns), 0u) << "its disk is at work";
    EXPECT_EQ(traffic.rest_ns(true, 0, now_ns + kBounds.rest_over_ns), 0u) << "no more have come";
}

}  // namespace
}  // namespace lockstep::pair::traffic
