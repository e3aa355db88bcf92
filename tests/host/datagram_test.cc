// SPDX-License-Identifier: Apache-2.0
#include "host/datagram.h"

#include "support.h"

namespace lockstep::host {
namespace {

SocketAddress any_port() { return SocketAddress::parse("127.0.0.1:0").take(); }

TEST(Datagram, TheSenderIsKnownAndCanBeAnswered) {
    auto loop = make_loop();
    bool answered = false;
    std::unique_ptr<DatagramSocket> echo =
        DatagramSocket::create(*loop, any_port(), [&](ByteSpan datagram, const SocketAddress& from) {
            echo->send(from, datagram);
        }).take();
    auto asker = DatagramSocket::create(*loop, any_port(), [&](ByteSpan datagram, const SocketAddress& from) {
        EXPECT_EQ(from.text(), echo->address().text());
        answered = to_text(datagram) == "hello";
    });
    asker.value()->send(echo->address(), to_bytes("hello"));
    EXPECT_TRUE(run_until(*loop, [&] { return answered; }));
}

TEST(Datagram, NobodyListeningHarmsNothing) {
    auto loop = make_loop();
    int received = 0;
    auto socket =
        DatagramSocket::create(*loop, any_port(), [&](ByteSpan, const SocketAddress&) { received++; });
    SocketAddress gone = DatagramSocket::create(*loop, any_port(), {}).take()->address();
    for (int i = 0; i < 10; i++) {
        socket.value()->send(gone, to_bytes("x"));
        run_for(*loop, kNsPerMs);
    }
    socket.value()->send(socket.value()->address(), to_bytes("to myself"));
    EXPECT_TRUE(run_until(*loop, [&] { return received == 1; }));
}

TEST(Datagram, ABusyPortIsNamed) {
    auto loop = make_loop();
    auto first = DatagramSocket::create(*loop, any_port(), {});
    auto second = DatagramSocket::create(*loop, first.value()->address(), {});
    ASSERT_FALSE(second.ok());
    expect_contains(second.error().message(), "UDP port");
    expect_contains(second.error().message(), "busy");
}

}  // namespace
}  // namespace lockstep::host
