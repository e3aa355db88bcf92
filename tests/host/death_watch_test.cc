// SPDX-License-Identifier: Apache-2.0
#include "host/death_watch.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <thread>

#include "host/file_descriptor.h"

namespace lockstep::host {
namespace {

/// A connection whose near end the test keeps open: only the watcher can shut it down.
class DeathWatchTest : public testing::Test {
  protected:
    void SetUp() override {
        int ends[2];
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        near_ = FileDescriptor(ends[0]);
        far_ = FileDescriptor(ends[1]);
    }
    /// Runs `in_child` in a process of its own, which is killed once that has returned.
    template <typename Function>
    void kill_after(const Function& in_child) {
        pid_t child = ::fork();
        if (child == 0) {
            in_child();
            ::kill(::getpid(), SIGKILL);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status));
    }
    /// What comes at the far end until it is shut down; nothing more comes within `timeout_ms`: "open".
    std::string heard(int timeout_ms) {
        std::string text;
        for (;;) {
            pollfd wanted = {far_.get(), POLLIN, 0};
            if (::poll(&wanted, 1, timeout_ms) != 1) return text + "open";
            char bytes[100];
            ssize_t size = ::recv(far_.get(), bytes, sizeof bytes, 0);
            if (size <= 0) return text;
            text.append(bytes, static_cast<size_t>(size));
        }
    }

    static constexpr int kLongMs = 10'000, kShortMs = 200;
    FileDescriptor near_, far_;
};

TEST_F(DeathWatchTest, AKilledProcessLeavesWhatItWroteAndTheEnd) {
    kill_after([&] {
        auto& watch = *new DeathWatch;
        watch.guard(near_.get());
        ASSERT_EQ(::write(near_.get(), "last", 4), 4);
    });
    EXPECT_EQ(heard(kLongMs), "last");
}

TEST_F(DeathWatchTest, TheEndComesBeforeTheHoldersOtherThreadsHaveEnded) {
    kill_after([&] {
        auto& watch = *new DeathWatch;
        watch.guard(near_.get());
        std::thread([] { ::pause(); }).detach();
    });
    EXPECT_EQ(heard(kLongMs), "");
}

TEST_F(DeathWatchTest, WhatIsNotGuardedAnyMoreStaysAsItIs) {
    kill_after([&] {
        auto& watch = *new DeathWatch;
        watch.guard(near_.get());
        watch.guard(-1);
    });
    EXPECT_EQ(heard(kShortMs), "open");
}

TEST_F(DeathWatchTest, AWatchThatEndedDoesNothing) {
    kill_after([&] {
        DeathWatch watch;
        watch.guard(near_.get());
    });
    EXPECT_EQ(heard(kShortMs), "open");
}

TEST_F(DeathWatchTest, AKilledWatcherHarmsNobody) {
    DeathWatch watch;
    watch.guard(near_.get());
    ASSERT_GT(watch.watcher(), 0);
    ::kill(watch.watcher(), SIGKILL);
    EXPECT_EQ(heard(kShortMs), "open");
    ASSERT_EQ(::write(near_.get(), "on", 2), 2);
    EXPECT_EQ(heard(kShortMs), "onopen");
}

TEST_F(DeathWatchTest, SignalsOfATerminalLeaveTheWatcher) {
    kill_after([&] {
        auto& watch = *new DeathWatch;
        watch.guard(near_.get());
        for (int signal : {SIGINT, SIGTERM, SIGHUP}) ::kill(watch.watcher(), signal);
    });
    EXPECT_EQ(heard(kLongMs), "");
}

}  // namespace
}  // namespace lockstep::host
