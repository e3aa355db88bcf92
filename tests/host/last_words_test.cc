// SPDX-License-Identifier: Apache-2.0
// What a process says when a signal of its own ends it.
#include "host/last_words.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "host/sockets.h"

namespace lockstep::host {
namespace {

class LastWordsTest : public testing::Test {
  protected:
    void SetUp() override {
        at_ = SocketAddress::parse("127.0.0.1:0").take();
        socket_ = FileDescriptor(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
        ASSERT_EQ(::bind(socket_.get(), at_.get(), at_.length), 0);
        at_ = local_address(socket_.get());
    }
    /// Runs `in_child` in a process of its own and gives the signal that ended it; 0: none did.
    template <typename Function>
    int ending_of(const Function& in_child) {
        pid_t child = ::fork();
        if (child == 0) {
            in_child();
            ::_exit(0);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    }
    unsigned datagrams(ByteSpan expected) {
        unsigned count = 0;
        Bytes buffer(1000);
        for (;;) {
            ssize_t size = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
            if (size < 0) return count;
            EXPECT_EQ(Bytes(buffer.begin(), buffer.begin() + size), Bytes(expected.begin(), expected.end()));
            ++count;
        }
    }

    SocketAddress at_;
    FileDescriptor socket_;
};

TEST_F(LastWordsTest, AreSaidAtEverySignalThatEndsTheProcess) {
    const Bytes first = {1, 2, 3}, second = {4, 5};
    for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) {
        EXPECT_EQ(ending_of([&] {
                      LastWords words;
                      words.prepare(at_, first);
                      words.prepare(at_, second);
                      ::raise(signal);
                  }),
                  signal);
        EXPECT_GT(datagrams(second), 0u) << "signal " << signal;
    }
}

TEST_F(LastWordsTest, AreSaidAtAFault) {
    const Bytes said = {7};
    EXPECT_EQ(ending_of([&] {
                  LastWords words;
                  words.prepare(at_, said);
                  volatile uintptr_t nowhere = 8;
                  *reinterpret_cast<volatile int*>(nowhere) = 1;
              }),
              SIGSEGV);
    EXPECT_GT(datagrams(said), 0u);
}

TEST_F(LastWordsTest, AreNotSaidWhereNobodyIsToBeToldOrNobodyCould) {
    const Bytes said = {7};
    EXPECT_EQ(ending_of([&] {
                  LastWords words;
                  words.prepare(at_, said);
                  words.forget();
                  ::raise(SIGSEGV);
              }),
              SIGSEGV);
    EXPECT_EQ(ending_of([&] {
                  LastWords words;
                  words.prepare(at_, said);
                  ::raise(SIGKILL);
              }),
              SIGKILL);
    EXPECT_EQ(ending_of([&] {
                  LastWords words;
                  words.prepare(at_, said);
              }),
              0);
    EXPECT_EQ(datagrams(said), 0u);
}

}  // namespace
}  // namespace lockstep::host
