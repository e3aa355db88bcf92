// SPDX-License-Identifier: Apache-2.0
#include "disk/request_queue.h"

#include <gtest/gtest.h>

namespace lockstep::disk {
namespace {

using Ids = std::vector<RequestQueue::Id>;

class RequestQueueTest : public testing::Test {
  protected:
    /// All that can be given out now.
    Ids take() {
        Ids ids;
        while (std::optional<RequestQueue::Id> id = queue_.next(may_write_)) ids.push_back(*id);
        return ids;
    }
    Ids finish(RequestQueue::Id id) {
        queue_.finish(id);
        return take();
    }

    RequestQueue queue_;
    bool open_ = true;
    unsigned asked_ = 0;
    RequestQueue::MayWrite may_write_ = [this](RequestQueue::Id) {
        ++asked_;
        return open_;
    };
};

TEST_F(RequestQueueTest, RequestsThatDoNotTouchRunAtOnce) {
    queue_.add(1, Access::kWrite, 0, 512);
    queue_.add(2, Access::kWrite, 512, 512);
    queue_.add(3, Access::kRead, 1024, 512);
    EXPECT_EQ(take(), (Ids{1, 2, 3}));
}

TEST_F(RequestQueueTest, ReadsOfTheSamePlaceRunSideBySide) {
    queue_.add(1, Access::kRead, 0, 4096);
    queue_.add(2, Access::kRead, 512, 4096);
    EXPECT_EQ(take(), (Ids{1, 2}));
}

TEST_F(RequestQueueTest, OverlappingRequestsWaitForAllEarlierOnes) {
    queue_.add(1, Access::kWrite, 0, 512);
    queue_.add(2, Access::kRead, 1024, 512);
    queue_.add(3, Access::kWrite, 0, 2048);
    queue_.add(4, Access::kRead, 511, 1);
    EXPECT_EQ(take(), (Ids{1, 2}));
    EXPECT_EQ(finish(1), Ids{});
    EXPECT_EQ(finish(2), Ids{3});
    EXPECT_EQ(finish(3), Ids{4});
    EXPECT_EQ(finish(4), Ids{});
    EXPECT_TRUE(queue_.empty());
}

TEST_F(RequestQueueTest, ALaterRequestDoesNotOvertakeAWaitingOne) {
    queue_.add(1, Access::kWrite, 0, 512);
    queue_.add(2, Access::kWrite, 0, 1024);
    queue_.add(3, Access::kWrite, 512, 512);  // overlaps request 2 alone, which waits
    EXPECT_EQ(take(), Ids{1});
    EXPECT_EQ(finish(1), Ids{2});
    EXPECT_EQ(finish(2), Ids{3});
}

TEST_F(RequestQueueTest, ARequestThatIsReadyAndNotGivenOutHoldsWhatOverlaps) {
    queue_.add(1, Access::kWrite, 0, 512);
    queue_.add(2, Access::kRead, 0, 512);
    open_ = false;
    EXPECT_EQ(take(), Ids{});
    open_ = true;
    EXPECT_EQ(take(), Ids{1});
    EXPECT_EQ(finish(1), Ids{2});
}

TEST_F(RequestQueueTest, ABarrierWaitsForEarlierWritesAndHoldsNobody) {
    queue_.add(1, Access::kWrite, 0, 512);
    queue_.add(2, Access::kRead, 4096, 512);
    queue_.add(3, Access::kBarrier, 0, 0);
    queue_.add(4, Access::kWrite, 8192, 512);
    EXPECT_EQ(take(), (Ids{1, 2, 4}));
    EXPECT_EQ(finish(1), Ids{3});
    queue_.add(5, Access::kBarrier, 0, 0);
    EXPECT_EQ(take(), Ids{}) << "write 4 is under way";
    EXPECT_EQ(finish(3), Ids{});
    EXPECT_EQ(finish(4), Ids{5});
}

TEST_F(RequestQueueTest, EachWriteIsAskedForWhenItIsGivenOut) {
    queue_.add(1, Access::kWrite, 0, 512);
    queue_.add(2, Access::kWrite, 0, 512);
    EXPECT_EQ(asked_, 0u) << "not when it is added";
    EXPECT_EQ(take(), Ids{1});
    EXPECT_EQ(asked_, 1u) << "not for the write that waits";
    open_ = false;
    EXPECT_EQ(finish(1), Ids{});
    EXPECT_EQ(asked_, 2u);
    EXPECT_EQ(queue_.size(), 1u) << "what is refused stays";
    queue_.add(3, Access::kRead, 4096, 512);
    queue_.add(4, Access::kBarrier, 0, 0);
    EXPECT_EQ(take(), Ids{3}) << "reads pass what is refused, a flush waits for it";
    open_ = true;
    EXPECT_EQ(take(), Ids{2});
    EXPECT_EQ(finish(2), Ids{4});
}

TEST_F(RequestQueueTest, ARepetitionIsAskedForAgainAndGoesFirst) {
    queue_.add(1, Access::kWrite, 0, 1024);
    queue_.add(2, Access::kWrite, 0, 512);
    EXPECT_EQ(take(), Ids{1});
    queue_.add(3, Access::kWrite, 4096, 512);
    queue_.again(1);
    open_ = false;
    EXPECT_EQ(take(), Ids{});
    open_ = true;
    EXPECT_EQ(take(), (Ids{1, 3}));
    EXPECT_EQ(finish(1), Ids{2});
}

TEST_F(RequestQueueTest, WhatIsNotWithTheKernelCanBeRemoved) {
    queue_.add(1, Access::kWrite, 0, 512);
    EXPECT_EQ(take(), Ids{1});
    queue_.add(2, Access::kWrite, 0, 512);
    queue_.add(3, Access::kBarrier, 0, 0);
    open_ = false;
    queue_.add(4, Access::kWrite, 4096, 512);
    EXPECT_EQ(take(), Ids{});
    EXPECT_EQ(queue_.remove_waiting(), (Ids{2, 3, 4}));
    open_ = true;
    EXPECT_EQ(finish(1), Ids{});
    EXPECT_TRUE(queue_.empty());
}

}  // namespace
}  // namespace lockstep::disk
