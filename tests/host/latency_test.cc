// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <thread>

#include "host/cpu_latency.h"
#include "host/thread_placement.h"

namespace lockstep::host {
namespace {

constexpr uint64_t kMs = 1'000'000;

TEST(CpuLatency, StandsFromTheFirstTrafficToSomeTimeAfterTheLast) {
    char path[] = "/tmp/latency_test.XXXXXX";  // takes what the kernel would be asked for
    FileDescriptor file(::mkstemp(path));
    ASSERT_TRUE(file);
    auto loop = EventLoop::create();
    ASSERT_TRUE(loop.ok());
    EventLoop& events = *loop.value();
    CpuLatency latency(events, true, path);
    EXPECT_FALSE(latency.holds());
    latency.traffic();
    EXPECT_TRUE(latency.holds());
    uint64_t last_ns = 0;
    for (int i = 0; i < 5; ++i) {
        events.run_once(CpuLatency::kHoldNs / 2);
        last_ns = events.now_ns();
        latency.traffic();
    }
    while (latency.holds() && events.now_ns() < last_ns + 1000 * kMs) events.run_once(kMs);
    EXPECT_FALSE(latency.holds());
    EXPECT_GE(events.now_ns(), last_ns + CpuLatency::kHoldNs);
    latency.traffic();
    EXPECT_TRUE(latency.holds()) << "and again";

    std::array<int32_t, 5> asked{};
    EXPECT_EQ(::pread(file.get(), asked.data(), sizeof asked, 0), static_cast<ssize_t>(4 * sizeof(int32_t)));
    EXPECT_EQ(asked, (std::array<int32_t, 5>{2'000'000'000, 0, 2'000'000'000, 0, 0}));
    ::unlink(path);
}

TEST(CpuLatency, IsDoneWithoutWhereTheHostHasNone) {
    auto loop = EventLoop::create();
    ASSERT_TRUE(loop.ok());
    CpuLatency latency(*loop.value(), true, "/nowhere/cpu_dma_latency");
    latency.traffic();
    EXPECT_FALSE(latency.holds());
}

TEST(CpuLatency, IsNotAskedForWhereItIsNotWanted) {
    auto loop = EventLoop::create();
    ASSERT_TRUE(loop.ok());
    CpuLatency latency(*loop.value(), false);
    latency.traffic();
    EXPECT_FALSE(latency.holds());
}

TEST(ThreadPlacement, AThreadLeavesTheProcessorThatAnotherNeeds) {
    std::thread thread([] {
        cpu_set_t before;
        ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
        ThreadPlacement placement;
        int processor = current_processor();
        placement.keep_off(-1);
        placement.keep_off(processor);
        if (CPU_COUNT(&before) > 1) {
            EXPECT_NE(current_processor(), processor);
        } else {
            EXPECT_EQ(current_processor(), processor) << "there is no other";
        }
        placement.keep_off(current_processor());
        EXPECT_TRUE(CPU_ISSET(current_processor(), &before));
    });
    thread.join();
}

}  // namespace
}  // namespace lockstep::host
