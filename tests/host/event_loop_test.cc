// SPDX-License-Identifier: Apache-2.0
#include "host/event_loop.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <optional>
#include <thread>

#include "host/signals.h"
#include "support.h"

namespace lockstep::host {
namespace {

struct SocketPair {
    SocketPair() {
        int ends[2];
        EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
        a = FileDescriptor(ends[0]);
        b = FileDescriptor(ends[1]);
    }
    FileDescriptor a, b;
};

TEST(EventLoop, PostedWorkRunsInOrder) {
    auto loop = make_loop();
    std::string order;
    loop->post([&] { order += 'a'; });
    loop->post([&] {
        order += 'b';
        loop->post([&] { order += 'd'; });
    });
    loop->post([&] { order += 'c'; });
    EXPECT_TRUE(run_until(*loop, [&] { return order.size() == 4; }));
    EXPECT_EQ(order, "abcd");
}

TEST(EventLoop, TheEndOfARoundComesAfterItsCallbacks) {
    auto loop = make_loop();
    std::string order;
    loop->post([&] {
        loop->at_end_of_round([&] { order += 'c'; });
        order += 'a';
    });
    loop->post([&] { order += 'b'; });
    EXPECT_TRUE(run_until(*loop, [&] { return order.size() == 3; }));
    EXPECT_EQ(order, "abc");
    loop->at_end_of_round([&] {
        order += 'd';
        loop->at_end_of_round([&] { order += 'e'; });  // of the next round, which doesn't sleep for it
    });
    EXPECT_TRUE(run_until(*loop, [&] { return order.size() == 5; }));
    EXPECT_EQ(order, "abcde");
}

uint64_t slept_voluntarily() {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    return static_cast<uint64_t>(usage.ru_nvcsw);
}

TEST(EventLoop, PollsWithoutSleepAsLongAsItIsTold) {
    constexpr uint64_t kMs = 1'000'000;
    auto loop = make_loop();
    bool polls = true, done = false;
    loop->poll_while([&] { return polls; });
    uint64_t start_ns = loop->now_ns(), slept = slept_voluntarily();
    Timer timer = loop->call_after(10 * kMs, [&] { done = true; });
    while (!done) loop->run_once(1000 * kMs);
    loop->run_once(10 * kMs);
    EXPECT_EQ(slept_voluntarily(), slept);
    EXPECT_GE(loop->now_ns(), start_ns + 20 * kMs);

    polls = false;
    loop->run_once(10 * kMs);
    EXPECT_GT(slept_voluntarily(), slept);
    EXPECT_GE(loop->now_ns(), start_ns + 30 * kMs);
}

TEST(EventLoop, RestsBeforeItSeesToDescriptors) {
    constexpr uint64_t kMs = 1'000'000;
    auto loop = make_loop();
    SocketPair pair;
    bool rests = true, readable = false;
    Watch watch = loop->watch(pair.a.get(), Interest::kRead, [&](Ready) { readable = true; });
    loop->rest_for([&] { return rests ? 20 * kMs : 0; });
    ASSERT_EQ(write(pair.b.get(), "x", 1), 1);
    uint64_t start_ns = loop->now_ns();
    loop->run_once(1000 * kMs);
    EXPECT_TRUE(readable);
    EXPECT_GE(loop->now_ns(), start_ns + 20 * kMs);

    rests = false;
    start_ns = loop->now_ns();
    loop->run_once(1000 * kMs);
    EXPECT_LT(loop->now_ns(), start_ns + 20 * kMs);
}

TEST(EventLoop, ARestEndsWithPostedWorkAndWhenItIsTold) {
    constexpr uint64_t kMs = 1'000'000;
    for (bool posts : {true, false}) {
        auto loop = make_loop();
        SocketPair pair;
        bool readable = false, worked = false;
        Watch watch = loop->watch(pair.a.get(), Interest::kRead, [&](Ready) { readable = true; });
        loop->rest_for([] { return 10'000 * kMs; });
        ASSERT_EQ(write(pair.b.get(), "x", 1), 1);
        std::atomic<bool> over = false;
        std::thread other([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            if (posts) loop->post([&] { worked = true; });
            while (!posts && !over) {  // it may not have begun
                loop->end_rest();
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
            }
        });
        uint64_t start_ns = loop->now_ns();
        loop->run_once(20'000 * kMs);
        over = true;
        other.join();
        EXPECT_LT(loop->now_ns(), start_ns + 5'000 * kMs);
        EXPECT_EQ(worked, posts);
        EXPECT_TRUE(readable) << "what has come meanwhile is seen to at once";
    }
}

TEST(EventLoop, WorkThatIsPostedBeforeARestPreventsIt) {
    constexpr uint64_t kMs = 1'000'000;
    auto loop = make_loop();
    bool worked = false;
    loop->rest_for([] { return 10'000 * kMs; });
    loop->post([&] { worked = true; });
    uint64_t start_ns = loop->now_ns();
    loop->run_once(20'000 * kMs);
    EXPECT_TRUE(worked);
    EXPECT_LT(loop->now_ns(), start_ns + 5'000 * kMs);
}

TEST(EventLoop, PostsOfManyThreadsAllArrive) {
    auto loop = make_loop();
    constexpr int kThreads = 4, kPosts = 20'000;
    int count = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; t++) {
        threads.emplace_back([&] {
            for (int i = 0; i < kPosts; i++) loop->post([&] { count++; });
        });
    }
    EXPECT_TRUE(run_until(*loop, [&] { return count == kThreads * kPosts; }));
    for (std::thread& thread : threads) thread.join();
}

TEST(EventLoop, StopFromAnotherThreadEndsRun) {
    auto loop = make_loop();
    std::thread stopper([&] { loop->stop(); });
    loop->run();
    stopper.join();
    loop->stop();  // a stop before run() isn't lost
    loop->run();
}

TEST(EventLoop, TimersFireInOrderOfTheirDeadlines) {
    auto loop = make_loop();
    std::string order;
    uint64_t start = loop->now_ns();
    Timer late = loop->call_after(20 * kNsPerMs, [&] { order += 'c'; });
    Timer early = loop->call_after(5 * kNsPerMs, [&] { order += 'a'; });
    Timer middle = loop->call_after(10 * kNsPerMs, [&] { order += 'b'; });
    EXPECT_TRUE(run_until(*loop, [&] { return order.size() == 3; }));
    EXPECT_EQ(order, "abc");
    EXPECT_GE(loop->now_ns() - start, 20 * kNsPerMs);
}

TEST(EventLoop, ATimerIsCancelledByDestroyingIt) {
    auto loop = make_loop();
    bool cancelled_fired = false, done = false;
    std::optional<Timer> cancelled = loop->call_after(2 * kNsPerMs, [&] { cancelled_fired = true; });
    Timer canceller = loop->call_after(kNsPerMs, [&] { cancelled.reset(); });
    Timer end = loop->call_after(10 * kNsPerMs, [&] { done = true; });
    EXPECT_TRUE(run_until(*loop, [&] { return done; }));
    EXPECT_FALSE(cancelled_fired);
}

TEST(EventLoop, ATimerCanBeSetAgainByItself) {
    auto loop = make_loop();
    int count = 0;
    Timer timer;
    std::function<void()> again = [&] {
        if (++count < 5) timer = loop->call_after(0, again);
    };
    timer = loop->call_after(0, again);
    EXPECT_TRUE(run_until(*loop, [&] { return count == 5; }));
}

TEST(EventLoop, AWatchReportsWhatItWaitsFor) {
    auto loop = make_loop();
    SocketPair sockets;
    Ready seen;
    int calls = 0;
    Watch watch = loop->watch(sockets.a.get(), Interest::kRead, [&](Ready ready) {
        seen = ready;
        calls++;
        watch.set_interest(Interest::kNone);
    });
    run_for(*loop, 2 * kNsPerMs);
    EXPECT_EQ(calls, 0);
    EXPECT_EQ(write(sockets.b.get(), "x", 1), 1);
    EXPECT_TRUE(run_until(*loop, [&] { return calls > 0; }));
    EXPECT_TRUE(seen.readable);
    EXPECT_FALSE(seen.writable);
    watch.set_interest(Interest::kWrite);
    EXPECT_TRUE(run_until(*loop, [&] { return calls > 1; }));
    EXPECT_TRUE(seen.writable);
}

TEST(EventLoop, AWatchMayDestroyItselfAndItsNeighbour) {
    auto loop = make_loop();
    SocketPair first, second;
    int calls = 0;
    Watch a, b;
    auto destroy_both = [&](Ready) {
        calls++;
        a.reset();
        b.reset();
    };
    a = loop->watch(first.a.get(), Interest::kRead, destroy_both);
    b = loop->watch(second.a.get(), Interest::kRead, destroy_both);
    EXPECT_EQ(write(first.b.get(), "x", 1), 1);
    EXPECT_EQ(write(second.b.get(), "x", 1), 1);
    run_for(*loop, 5 * kNsPerMs);
    EXPECT_EQ(calls, 1);
}

TEST(EventLoop, AHangUpDoesNotMakeAPausedWatchSpin) {
    auto loop = make_loop();
    SocketPair sockets;
    int calls = 0;
    Watch watch = loop->watch(sockets.a.get(), Interest::kNone, [&](Ready) { calls++; });
    sockets.b.reset();
    uint64_t before = cpu_time_ns();
    run_for(*loop, 100 * kNsPerMs);
    EXPECT_LT(cpu_time_ns() - before, 20 * kNsPerMs);
    EXPECT_EQ(calls, 0);
    watch.set_interest(Interest::kRead);
    EXPECT_TRUE(run_until(*loop, [&] { return calls > 0; }));
}

TEST(SignalSource, DeliversSignalsOnTheLoop) {
    auto loop = make_loop();
    int seen = 0;
    SignalSource source(*loop, {SIGTERM, SIGUSR1}, [&](int signal) { seen = signal; });
    kill(getpid(), SIGTERM);
    EXPECT_TRUE(run_until(*loop, [&] { return seen == SIGTERM; }));
    kill(getpid(), SIGUSR1);
    EXPECT_TRUE(run_until(*loop, [&] { return seen == SIGUSR1; }));
}

/// Switches of the calling thread that it asked for, by sleeping.
long sleeps() {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

TEST(SignalSource, SignalsOfOtherThreadsDontWakeUpTheLoop) {
    auto loop = make_loop();
    SignalSource source(*loop, {SIGTERM}, [](int) {});
    struct sigaction nothing {};
    nothing.sa_handler = [](int) {};
    sigaction(SIGUSR2, &nothing, nullptr);
    constexpr int kSignals = 1000;
    std::thread other([] {
        for (int i = 0; i < kSignals; ++i) {
            pthread_kill(pthread_self(), SIGUSR2);
            std::this_thread::sleep_for(std::chrono::microseconds(20));
        }
    });
    long before = sleeps();
    loop->run_once(20'000'000);
    EXPECT_LT(sleeps() - before, 20);
    other.join();
}

}  // namespace
}  // namespace lockstep::host
