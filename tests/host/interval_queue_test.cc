#include "host/interval_queue.h"

#include <gtest/gtest.h>

namespace lockstep::host {
namespace {

using Ids = std::vector<IntervalQueue::Id>;

TEST(IntervalQueue, RequestsThatDoNotTouchRunAtOnce) {
    IntervalQueue queue;
    EXPECT_TRUE(queue.add(1, Access::kWrite, 0, 512));
    EXPECT_TRUE(queue.add(2, Access::kWrite, 512, 512));
    EXPECT_TRUE(queue.add(3, Access::kRead, 1024, 512));
}

TEST(IntervalQueue, ReadsOfTheSamePlaceRunSideBySide) {
    IntervalQueue queue;
    EXPECT_TRUE(queue.add(1, Access::kRead, 0, 4096));
    EXPECT_TRUE(queue.add(2, Access::kRead, 512, 4096));
}

TEST(IntervalQueue, OverlappingRequestsWaitForAllEarlierOnes) {
    IntervalQueue queue;
    EXPECT_TRUE(queue.add(1, Access::kWrite, 0, 512));
    EXPECT_TRUE(queue.add(2, Access::kRead, 1024, 512));
    EXPECT_FALSE(queue.add(3, Access::kWrite, 0, 2048));
    EXPECT_FALSE(queue.add(4, Access::kRead, 511, 1));
    EXPECT_EQ(queue.finish(1), Ids{});
    EXPECT_EQ(queue.finish(2), Ids{3});
    EXPECT_EQ(queue.finish(3), Ids{4});
    EXPECT_EQ(queue.finish(4), Ids{});
    EXPECT_TRUE(queue.empty());
}

TEST(IntervalQueue, ALaterRequestDoesNotOvertakeAWaitingOne) {
    IntervalQueue queue;
    EXPECT_TRUE(queue.add(1, Access::kWrite, 0, 512));
    EXPECT_FALSE(queue.add(2, Access::kWrite, 0, 1024));
    EXPECT_FALSE(queue.add(3, Access::kWrite, 512, 512)) << "overlaps request 2 alone, which waits";
    EXPECT_EQ(queue.finish(1), Ids{2});
    EXPECT_EQ(queue.finish(2), Ids{3});
}

TEST(IntervalQueue, ABarrierWaitsForEarlierWritesAndHoldsNobody) {
    IntervalQueue queue;
    EXPECT_TRUE(queue.add(1, Access::kWrite, 0, 512));
    EXPECT_TRUE(queue.add(2, Access::kRead, 4096, 512));
    EXPECT_FALSE(queue.add(3, Access::kBarrier, 0, 0));
    EXPECT_TRUE(queue.add(4, Access::kWrite, 8192, 512));
    EXPECT_EQ(queue.finish(1), Ids{3});
    EXPECT_TRUE(queue.add(5, Access::kBarrier, 0, 0) == false) << "write 4 is under way";
    EXPECT_EQ(queue.finish(3), Ids{});
    EXPECT_EQ(queue.finish(4), Ids{5});
}

TEST(IntervalQueue, WaitingRequestsCanBeRemoved) {
    IntervalQueue queue;
    EXPECT_TRUE(queue.add(1, Access::kWrite, 0, 512));
    EXPECT_FALSE(queue.add(2, Access::kWrite, 0, 512));
    EXPECT_FALSE(queue.add(3, Access::kBarrier, 0, 0));
    EXPECT_EQ(queue.remove_waiting(), (Ids{2, 3}));
    EXPECT_EQ(queue.finish(1), Ids{});
    EXPECT_TRUE(queue.empty());
}

}  // namespace
}  // namespace lockstep::host
