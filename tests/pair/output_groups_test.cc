// SPDX-License-Identifier: Apache-2.0
#include "pair/traffic/output_groups.h"

#include <gtest/gtest.h>

namespace lockstep::pair::traffic {
namespace {

constexpr uint64_t kShortest = 500, kStart = 1'000'000;

void hand_over(OutputGroups& groups, unsigned outputs, uint64_t now_ns = kStart) {
    groups.set_shortest(kShortest);
    for (unsigned i = 0; i < outputs; ++i) groups.add();
    groups.handed_over(now_ns);
}

TEST(OutputGroups, OneOutputWaitsTheShortestTime) {
    for (unsigned outputs : {0, 1}) {
        OutputGroups groups;
        hand_over(groups, outputs);
        EXPECT_TRUE(groups.gathers(kStart + kShortest - 1));
        EXPECT_FALSE(groups.gathers(kStart + kShortest));
    }
}

TEST(OutputGroups, SeveralLetTheNextOnesWaitLonger) {
    OutputGroups groups;
    hand_over(groups, 3);
    EXPECT_TRUE(groups.gathers(kStart + 3 * kShortest - 1));
    EXPECT_FALSE(groups.gathers(kStart + 3 * kShortest));
    hand_over(groups, 1, kStart + 3 * kShortest);
    EXPECT_EQ(groups.gathering_ns(), kShortest) << "only one came";
}

TEST(OutputGroups, ThereIsALimit) {
    OutputGroups groups;
    hand_over(groups, 1000);
    EXPECT_EQ(groups.gathering_ns(), OutputGroups::kMostTimes * kShortest);
}

TEST(OutputGroups, NothingGathersByDefault) {
    OutputGroups groups;
    groups.add();
    groups.handed_over(kStart);
    EXPECT_FALSE(groups.gathers(kStart));
}

}  // namespace
}  // namespace lockstep::pair::traffic
