// SPDX-License-Identifier: Apache-2.0
#include "pair/traffic/input_moderation.h"

#include <gtest/gtest.h>

namespace lockstep::pair::traffic {
namespace {

constexpr uint64_t kStart = 5'000'000'000, kWindow = InputModeration::kWindowNs;

/// One packet every `pause_ns`; returns for how many of them the next ones might lie.
unsigned rests(InputModeration& moderation, unsigned packets, uint64_t pause_ns) {
    unsigned rests = 0;
    for (unsigned i = 1; i <= packets; ++i) {
        uint64_t now_ns = kStart + i * pause_ns;
        moderation.received(i, now_ns);
        rests += moderation.rest_ns(now_ns) > 0;
    }
    return rests;
}

TEST(InputModeration, RestsWhilePacketsComeThickAndFast) {
    InputModeration moderation;
    EXPECT_EQ(moderation.rest_ns(kStart), 0u);
    constexpr unsigned kPackets = 1000;
    EXPECT_GT(rests(moderation, kPackets, kWindow / 10), kPackets * 9 / 10);
}

TEST(InputModeration, NeverForOneThatWaitsForEachAnswer) {
    InputModeration moderation;
    EXPECT_EQ(rests(moderation, 1000, kWindow * 6 / 10), 0u);
}

TEST(InputModeration, CountsWhatComesInOnePiece) {
    InputModeration moderation;
    for (uint64_t i = 1; i <= 3; ++i) moderation.received(20 * i, kStart + i * kWindow);
    EXPECT_EQ(moderation.rest_ns(kStart + 3 * kWindow), InputModeration::kLongestNs);
}

TEST(InputModeration, EndsWithThePackets) {
    InputModeration moderation;
    for (uint64_t i = 1; i <= 3; ++i) moderation.received(20 * i, kStart + i * kWindow);
    uint64_t last_ns = kStart + 3 * kWindow;
    EXPECT_GT(moderation.rest_ns(last_ns + InputModeration::kOverNs - 1), 0u);
    EXPECT_EQ(moderation.rest_ns(last_ns + InputModeration::kOverNs), 0u);
    moderation.received(61, last_ns + 100 * kWindow);
    EXPECT_EQ(moderation.rest_ns(last_ns + 100 * kWindow), 0u) << "one after a long time";
}

}  // namespace
}  // namespace lockstep::pair::traffic
