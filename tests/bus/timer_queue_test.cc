// SPDX-License-Identifier: Apache-2.0
#include "bus/timer_queue.h"

#include <gtest/gtest.h>

#include <vector>

namespace lockstep::bus {
namespace {

class TimerQueueTest : public testing::Test, protected IcountSource {
  protected:
    Icount icount() const override { return now_; }

    Icount now_;
    VirtualClock clock_;
    TimerQueue timers_{clock_, *this};
    std::vector<int> fired_;
};

TEST_F(TimerQueueTest, NothingArmed) {
    timers_.add([] {});
    EXPECT_EQ(timers_.next_event(), kNeverIcount);
    EXPECT_EQ(timers_.next_deadline_ns(), kNeverNs);
    EXPECT_FALSE(timers_.run_due());
}

TEST_F(TimerQueueTest, FiresInTheOrderOfDeadlinesThenOfAdding) {
    auto a = timers_.add([this] { fired_.push_back(0); });
    auto b = timers_.add([this] { fired_.push_back(1); });
    auto c = timers_.add([this] { fired_.push_back(2); });
    timers_.arm(c, 20);
    timers_.arm(b, 10);
    timers_.arm(a, 20);
    EXPECT_EQ(timers_.next_event(), Icount(10));
    now_ = Icount(9);
    EXPECT_FALSE(timers_.run_due());
    now_ = Icount(25);
    EXPECT_TRUE(timers_.run_due());
    EXPECT_EQ(fired_, (std::vector{1, 0, 2}));
    EXPECT_EQ(timers_.next_event(), kNeverIcount);
}

TEST_F(TimerQueueTest, EventFollowsRateAndJumps) {
    auto timer = timers_.add([this] { fired_.push_back(0); });
    timers_.arm(timer, 1000);
    clock_.set_rate(Icount(0), kRateOne / 2);
    timers_.clock_changed();
    EXPECT_EQ(timers_.next_event(), Icount(2000));
    now_ = Icount(100);
    clock_.advance(now_, 940);
    timers_.clock_changed();
    EXPECT_EQ(timers_.next_event(), Icount(120));
    clock_.advance(now_, 10);
    timers_.clock_changed();
    EXPECT_TRUE(timers_.run_due());
}

TEST_F(TimerQueueTest, HandlerMayArmAgain) {
    TimerQueue::Id timer{};
    timer = timers_.add([&] {
        fired_.push_back(0);
        if (fired_.size() < 3) timers_.arm(timer, fired_.size() * 10);
    });
    timers_.arm(timer, 5);
    now_ = Icount(15);
    EXPECT_TRUE(timers_.run_due());
    EXPECT_EQ(fired_.size(), 2u);
    EXPECT_EQ(timers_.next_event(), Icount(20));
    timers_.disarm(timer);
    EXPECT_EQ(timers_.next_event(), kNeverIcount);
}

}  // namespace
}  // namespace lockstep::bus
