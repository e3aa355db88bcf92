// SPDX-License-Identifier: Apache-2.0
#include "host/thread_priority.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

namespace lockstep::host {
namespace {

constexpr int kResetOnFork = SCHED_RESET_ON_FORK;
constexpr unsigned kNobody = 65534;

int policy_of_this_thread() { return sched_getscheduler(0); }

/// Whether this process may use real-time priorities at all.
bool may_be_real_time() {
    bool may = false;
    std::thread([&] {
        sched_param lowest{};
        lowest.sched_priority = 1;
        may = sched_setscheduler(0, SCHED_FIFO, &lowest) == 0;
    }).join();
    return may;
}

TEST(ThreadPriority, PreferredThreadGoesBeforeOthersAndItsChildrenDoNot) {
    int before = policy_of_this_thread(), preferred = -1, child = -1;
    std::thread([&] {
        prefer_this_thread();
        preferred = policy_of_this_thread();
        std::thread([&] { child = policy_of_this_thread(); }).join();
    }).join();
    EXPECT_EQ(preferred, may_be_real_time() ? SCHED_RR | kResetOnFork : before);
    EXPECT_EQ(child, before);
    EXPECT_EQ(policy_of_this_thread(), before);
}

/// For the calling thread alone, unlike the C library's function.
bool give_up_rights() { return geteuid() != 0 || syscall(SYS_setresuid, kNobody, kNobody, kNobody) == 0; }

TEST(ThreadPriority, WithoutTheRightTheThreadIsAsBefore) {
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_RTPRIO, &limit), 0);
    if (limit.rlim_cur > 0) GTEST_SKIP() << "everybody may use real-time priorities here";
    int policy = -1;
    std::thread([&] {
        ASSERT_TRUE(give_up_rights());
        prefer_this_thread();
        policy = policy_of_this_thread();
    }).join();
    EXPECT_EQ(policy, SCHED_OTHER);
}

}  // namespace
}  // namespace lockstep::host
