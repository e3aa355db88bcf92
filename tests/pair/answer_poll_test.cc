// SPDX-License-Identifier: Apache-2.0
#include "pair/traffic/answer_poll.h"

#include <gtest/gtest.h>

namespace lockstep::pair::traffic {
namespace {

constexpr uint64_t kLongest = AnswerPoll::kLongestNs, kStart = 5'000'000, kPause = 10'000'000;

TEST(AnswerPoll, WaitsFromAQuestionToItsAnswer) {
    AnswerPoll poll;
    poll.answered(kStart);
    EXPECT_FALSE(poll.waits(kStart)) << "nobody has asked";
    poll.asked(kStart);
    EXPECT_TRUE(poll.waits(kStart));
    EXPECT_FALSE(poll.expects_work(kStart)) << "it must wake up first";
    EXPECT_TRUE(poll.expects_work(kStart + AnswerPoll::kWakeUpNs));
    EXPECT_TRUE(poll.waits(kStart + kLongest / 2));
    poll.answered(kStart + kLongest / 2);
    EXPECT_FALSE(poll.waits(kStart + kLongest / 2));
    poll.asked(kStart + kPause);
    EXPECT_TRUE(poll.waits(kStart + kPause)) << "and again";
}

TEST(AnswerPoll, EndsWithAQuestionThatNobodyAnswers) {
    AnswerPoll poll;
    poll.asked(kStart);
    EXPECT_FALSE(poll.waits(kStart + kLongest));
    for (uint64_t round : {1, 2}) {
        poll.asked(kStart + round * kPause);
        EXPECT_FALSE(poll.waits(kStart + round * kPause));
    }
    poll.answered(kStart + 2 * kPause + kLongest / 2);  // in time
    poll.asked(kStart + 3 * kPause);
    EXPECT_TRUE(poll.waits(kStart + 3 * kPause));
}

TEST(AnswerPoll, SeveralPacketsAreOneQuestion) {
    AnswerPoll poll;
    poll.asked(kStart);
    poll.asked(kStart + kLongest / 2);
    EXPECT_TRUE(poll.waits(kStart + kLongest / 2));
    EXPECT_FALSE(poll.waits(kStart + kLongest)) << "the first counts";
}

TEST(AnswerPoll, EndsWithASlowAnswer) {
    AnswerPoll poll;
    poll.asked(kStart);
    poll.answered(kStart + kLongest + 1);
    poll.asked(kStart + kPause);
    EXPECT_FALSE(poll.waits(kStart + kPause));
}

}  // namespace
}  // namespace lockstep::pair::traffic
