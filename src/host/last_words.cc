// SPDX-License-Identifier: Apache-2.0
#include "host/last_words.h"

#include <sys/socket.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <iterator>
#include <mutex>

#include "base/check.h"

namespace lockstep::host {

namespace {

constexpr int kEndingSignals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
constexpr int kTimes = 3;  // a datagram may be lost

struct Prepared {
    int socket = -1;
    SocketAddress to;
    size_t size = 0;
    std::array<uint8_t, LastWords::kLargest> bytes{};
};
// A signal handler has no other way to be told. One of the two is written while the other is in force.
std::array<Prepared, 2> prepared;
std::atomic<const Prepared*> in_force = nullptr;

/// Who had these signals before, and has them again once the words are said.
struct sigaction former_actions[std::size(kEndingSignals)];

// A fault happens again when the handler returns; what was sent must be sent again, and is blocked until then.
void say_and_end(int signal, siginfo_t* info, void*) {
    if (const Prepared* words = in_force.exchange(nullptr))
        for (int i = 0; i < kTimes; ++i)
            ::sendto(words->socket, words->bytes.data(), words->size, MSG_DONTWAIT | MSG_NOSIGNAL,
                     reinterpret_cast<const sockaddr*>(&words->to.storage), words->to.length);
    for (size_t i = 0; i < std::size(kEndingSignals); ++i)
        if (kEndingSignals[i] == signal) ::sigaction(signal, &former_actions[i], nullptr);
    if (info->si_code <= 0) std::raise(signal);
}

void install_handlers() {
    struct sigaction action {};
    action.sa_sigaction = say_and_end;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;  // perhaps there is no room on the usual stack
    for (size_t i = 0; i < std::size(kEndingSignals); ++i)
        CHECK(::sigaction(kEndingSignals[i], &action, &former_actions[i]) == 0);
}

}  // namespace

LastWords::LastWords()
    : ipv4_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
      ipv6_(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    static std::once_flag installed;
    std::call_once(installed, install_handlers);
}

// The handlers stay: others may have been put before them.
LastWords::~LastWords() { forget(); }

void LastWords::prepare(const SocketAddress& to, ByteSpan datagram) {
    CHECK(datagram.size() <= kLargest);
    Prepared& next = in_force.load() == &prepared[0] ? prepared[1] : prepared[0];
    next.socket = (to.family() == AF_INET ? ipv4_ : ipv6_).get();
    next.to = to;
    next.size = datagram.size();
    std::memcpy(next.bytes.data(), datagram.data(), datagram.size());
    in_force = &next;
}

void LastWords::forget() { in_force = nullptr; }

}  // namespace lockstep::host
