// SPDX-License-Identifier: Apache-2.0
#include "host/channel.h"

#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <thread>

#include "base/hash.h"
#include "host/acceptor.h"
#include "host/sockets.h"
#include "support.h"

namespace lockstep::host {
namespace {

class ChannelTest : public testing::Test {
  protected:
    ChannelTest() : loop_(make_loop()), near_end_(SocketAddress::parse("127.0.0.1:0").take()) {}

    void listen() {
        auto socket = listen_at(near_end_);
        ASSERT_TRUE(socket.ok()) << socket.error().message();
        // Inherited: a receiver that waits for much needs room for it.
        int bytes = options_.socket_buffer_bytes;
        setsockopt(socket.value().get(), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
        listener_ = std::make_unique<Acceptor>(*loop_, socket.take(), [this](FileDescriptor connection) {
            accepted_ = make_channel(*loop_, std::move(connection), options_);
        });
        near_end_ = local_address(listener_->descriptor());
    }
    void start_connecting() {
        connector_ = std::make_unique<ChannelConnector>(
            *loop_, near_end_, options_,
            ChannelConnector::Times{.attempt_ns = kNsPerSecond, .pause_ns = 5 * kNsPerMs},
            [this](FileDescriptor socket) {
                connected_ = make_channel(*loop_, std::move(socket), options_);
                connector_.reset();  // allowed from within its callback
            },
            [this](const Error& reason) {
                failures_++;
                last_failure_ = reason.message();
            });
    }
    void connect() {
        listen();
        start_connecting();
        ASSERT_TRUE(run_until(*loop_, [&] { return accepted_ && connected_; }));
    }
    /// Counts what arrives.
    Channel::Handlers receiver() {
        return {.frame = [this](ByteSpan frame) { frames_.push_back(to_text(frame)); },
                .closed =
                    [this](CloseCause cause, const Error& reason) {
                        closed_++;
                        cause_ = cause;
                        last_failure_ = reason.message();
                    },
                .drained = {}};
    }

    std::unique_ptr<EventLoop> loop_;
    SocketAddress near_end_;
    ChannelOptions options_;
    std::unique_ptr<Acceptor> listener_;
    std::unique_ptr<ChannelConnector> connector_;
    std::unique_ptr<Channel> accepted_;
    std::unique_ptr<Channel> connected_;
    std::vector<std::string> frames_;
    int closed_ = 0;
    CloseCause cause_{};
    int failures_ = 0;
    std::string last_failure_;
};

TEST_F(ChannelTest, FramesArriveWholeAndInOrder) {
    connect();
    accepted_->set_handlers(receiver());
    connected_->send(to_bytes("one"));
    connected_->send(ByteSpan{});
    Bytes head = to_bytes("two "), tail = to_bytes("parts");
    ByteSpan parts[] = {head, tail};
    connected_->send(parts);
    EXPECT_EQ(connected_->queued_bytes(), 0u) << "the kernel takes small frames at once";
    EXPECT_TRUE(run_until(*loop_, [&] { return frames_.size() == 3; }));
    EXPECT_EQ(frames_, (std::vector<std::string>{"one", "", "two parts"}));
}

/// A peer that sends bytes as the test wants them.
FileDescriptor raw_peer(const SocketAddress& to) {
    FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(socket.get(), to.get(), to.length), 0);
    return socket;
}

/// Bytes that this process has from malloc.
size_t allocated_bytes() {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

TEST_F(ChannelTest, ALengthThatIsOnlyAnnouncedTakesNoRoom) {
    listen();
    FileDescriptor peer = raw_peer(near_end_);
    ASSERT_TRUE(run_until(*loop_, [&] { return accepted_ != nullptr; }));
    accepted_->set_handlers(receiver());
    size_t before = allocated_bytes();
    uint32_t length = 60 << 20;
    Bytes bytes(sizeof length + 300'000, 'x');
    std::memcpy(bytes.data(), &length, sizeof length);
    std::thread sender([&] { (void)!::send(peer.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); });
    // Of the rest the kernel says nothing as long as more is expected.
    EXPECT_TRUE(run_until(*loop_, [&] { return accepted_->counters().bytes_in > sizeof length; }));
    sender.join();
    EXPECT_LT(allocated_bytes() - before, 4 * bytes.size());
    EXPECT_EQ(closed_, 0) << "it may still come";
}

TEST_F(ChannelTest, AFrameTooLongToSendBreaksTheChannelAlone) {
    options_.largest_frame = 1000;
    connect();
    accepted_->set_handlers(receiver());
    int broken = 0;
    connected_->set_handlers({.frame = {},
                              .closed =
                                  [&](CloseCause cause, const Error& why) {
                                      broken++;
                                      EXPECT_EQ(cause, CloseCause::kBroken);
                                      EXPECT_NE(why.message().find("1001 bytes"), std::string::npos);
                                  },
                              .drained = {}});
    connected_->send(Bytes(1000));
    connected_->send(Bytes(1001));
    EXPECT_EQ(broken, 0) << "never from within the call";
    connected_->send(Bytes(10));
    EXPECT_TRUE(run_until(*loop_, [&] { return broken == 1 && closed_ == 1; }));
    EXPECT_EQ(frames_.size(), 1u) << "nothing comes after a gap";
    connected_->set_largest_frame(2000);
}

TEST_F(ChannelTest, AStrangerIsGrantedLessThanAPartner) {
    options_.largest_frame = 100;
    connect();
    accepted_->set_handlers(receiver());
    accepted_->set_largest_frame(1000);
    connected_->set_largest_frame(1000);
    connected_->send(Bytes(1000));
    EXPECT_TRUE(run_until(*loop_, [&] { return frames_.size() == 1; }));
    accepted_->set_largest_frame(100);
    connected_->send(Bytes(101));
    EXPECT_TRUE(run_until(*loop_, [&] { return closed_ == 1; }));
}

TEST_F(ChannelTest, ALongFrameWakesUpItsReceiverForItsBeginAndItsEnd) {
    listen();
    FileDescriptor peer = raw_peer(near_end_);
    ASSERT_TRUE(run_until(*loop_, [&] { return accepted_ != nullptr; }));
    accepted_->set_handlers(receiver());
    loop_->run_once(0);
    uint32_t length = 40'000;
    Bytes bytes(sizeof length + length, 'x');
    std::memcpy(bytes.data(), &length, sizeof length);
    constexpr size_t kPiece = 10'001;
    size_t rounds_with_bytes = 0;
    for (size_t sent = 0; sent < bytes.size(); sent += kPiece) {
        uint64_t before = accepted_->counters().bytes_in;
        ASSERT_EQ(send(peer.get(), bytes.data() + sent, kPiece, MSG_NOSIGNAL), kPiece);
        loop_->run_once(20 * kNsPerMs);
        rounds_with_bytes += accepted_->counters().bytes_in != before;
    }
    EXPECT_TRUE(run_until(*loop_, [&] { return frames_.size() == 1; }));
    EXPECT_EQ(rounds_with_bytes, 2u);
    ASSERT_EQ(send(peer.get(), "\1\0\0\0y", 5, MSG_NOSIGNAL), 5);
    EXPECT_TRUE(run_until(*loop_, [&] { return frames_.size() == 2; })) << "short ones come at once again";
}

TEST_F(ChannelTest, ShortFramesComeThoughALongOneWasFollowedByAPause) {
    listen();
    FileDescriptor peer = raw_peer(near_end_);
    ASSERT_TRUE(run_until(*loop_, [&] { return accepted_ != nullptr; }));
    Channel::Handlers pausing = receiver();
    pausing.frame = [this](ByteSpan frame) {
        frames_.push_back(to_text(frame));
        accepted_->pause_receiving();
    };
    accepted_->set_handlers(pausing);
    uint32_t length = 40'000;
    Bytes bytes(length, 'x');
    ASSERT_EQ(send(peer.get(), &length, sizeof length, MSG_NOSIGNAL), sizeof length);
    EXPECT_TRUE(run_until(*loop_, [&] { return accepted_->counters().bytes_in == sizeof length; }));
    ASSERT_EQ(send(peer.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), length);
    EXPECT_TRUE(run_until(*loop_, [&] { return frames_.size() == 1; }));
    ASSERT_EQ(send(peer.get(), "\1\0\0\0y", 5, MSG_NOSIGNAL), 5);
    accepted_->resume_receiving();
    EXPECT_TRUE(run_until(*loop_, [&] { return frames_.size() == 2; }));
}

/// A connection that gives these pieces, one a read; an empty one, or none: there is nothing now.
class ScriptedStream : public ByteStream {
  public:
    ScriptedStream(std::deque<Bytes> pieces, size_t& expected)
        : pieces_(std::move(pieces)), expected_(expected), readable_(eventfd(1, EFD_CLOEXEC)) {}
    long read(std::span<uint8_t> out) override {
        if (pieces_.empty()) return -EAGAIN;
        Bytes piece = std::move(pieces_.front());
        pieces_.pop_front();
        if (piece.empty()) return -EAGAIN;
        EXPECT_LE(piece.size(), out.size());
        std::copy(piece.begin(), piece.end(), out.begin());
        return static_cast<long>(piece.size());
    }
    long write(std::span<const ByteSpan>) override { return -EAGAIN; }
    int descriptor() const override { return readable_.get(); }
    void expect(size_t bytes) override { expected_ = bytes; }

  private:
    std::deque<Bytes> pieces_;
    size_t& expected_;
    FileDescriptor readable_;
};

// The room for a long frame is the frame's in the end: its last byte fills it, and the next read finds nothing. What comes
// then may be short.
TEST_F(ChannelTest, ALongFrameThatFilledItsRoomLeavesNothingExpected) {
    Bytes bytes(300 << 10, 'x');
    uint32_t length = static_cast<uint32_t>(bytes.size() - sizeof length);
    std::memcpy(bytes.data(), &length, sizeof length);
    auto middle = bytes.begin() + 200'000;
    size_t expected = 1;
    std::vector<size_t> expected_at_frames;
    std::deque<Bytes> pieces{Bytes(bytes.begin(), middle), {}, Bytes(middle, bytes.end())};
    Channel channel(*loop_, std::make_unique<ScriptedStream>(std::move(pieces), expected), "script",
                    options_);
    Channel::Handlers handlers = receiver();
    handlers.frame = [&, frame = handlers.frame](ByteSpan content) {
        expected_at_frames.push_back(expected);
        frame(content);
    };
    channel.set_handlers(handlers);
    EXPECT_TRUE(run_until(*loop_, [&] { return frames_.size() == 1 && expected == 1; }));
    EXPECT_EQ(expected_at_frames, std::vector<size_t>{bytes.size() - 200'000}) << "the rest was waited for";
}

TEST_F(ChannelTest, APeerThatLeavesInTheMiddleOfALongFrameIsNoticed) {
    listen();
    FileDescriptor peer = raw_peer(near_end_);
    ASSERT_TRUE(run_until(*loop_, [&] { return accepted_ != nullptr; }));
    accepted_->set_handlers(receiver());
    uint32_t length = 1'000'000;
    ASSERT_EQ(send(peer.get(), &length, sizeof length, MSG_NOSIGNAL), sizeof length);
    EXPECT_TRUE(run_until(*loop_, [&] { return accepted_->counters().bytes_in == sizeof length; }));
    ASSERT_EQ(send(peer.get(), "some", 4, MSG_NOSIGNAL), 4);
    peer.reset();
    EXPECT_TRUE(run_until(*loop_, [&] { return closed_ == 1; }));
    EXPECT_EQ(cause_, CloseCause::kPeerClosed);
}

TEST_F(ChannelTest, MuchDataBothWaysComesThroughUnharmed) {
    connect();
    struct Side {
        std::mt19937 random;
        uint64_t sent = 0, received = 0, sent_bytes = 0;
        uint64_t sent_hash = 0, received_hash = 0;
    };
    Side sides[2]{{std::mt19937(1)}, {std::mt19937(2)}};
    Channel* channels[2] = {accepted_.get(), connected_.get()};
    constexpr uint64_t kBytes = 64 << 20;
    Bytes source(3 << 20);
    for (uint8_t& byte : source) byte = static_cast<uint8_t>(sides[0].random());

    auto send_more = [&](int s) {
        Side& side = sides[s];
        while (side.sent_bytes < kBytes && channels[s]->queued_bytes() < (8 << 20)) {
            size_t size = side.random() % 10 == 0 ? side.random() % source.size() : side.random() % 2000;
            ByteSpan frame = ByteSpan(source).subspan(side.random() % (source.size() - size), size);
            side.sent_hash = hash64(frame, side.sent_hash);
            channels[s]->send(frame);
            side.sent++;
            side.sent_bytes += size;
        }
    };
    for (int s : {0, 1}) {
        Side& from = sides[1 - s];
        channels[s]->set_handlers({.frame =
                                       [&](ByteSpan frame) {
                                           from.received++;
                                           from.received_hash = hash64(frame, from.received_hash);
                                       },
                                   .closed = [](CloseCause, const Error& e) { ADD_FAILURE() << e.message(); },
                                   .drained = [&send_more, s] { send_more(s); }});
        send_more(s);
    }
    EXPECT_TRUE(run_until(
        *loop_,
        [&] {
            for (Side& side : sides) {
                if (side.sent_bytes < kBytes || side.received < side.sent) return false;
            }
            return true;
        },
        60 * kNsPerSecond));
    for (Side& side : sides) EXPECT_EQ(side.received_hash, side.sent_hash);
}

TEST_F(ChannelTest, BackPressureIsVisibleAndEnds) {
    connect();
    accepted_->set_handlers(receiver());
    accepted_->pause_receiving();
    bool drained = false;
    connected_->set_handlers({.frame = [](ByteSpan) {},
                              .closed = [](CloseCause, const Error&) {},
                              .drained = [&] { drained = true; }});
    constexpr size_t kFrames = 64;
    Bytes frame(1 << 20, 0x11);
    for (size_t i = 0; i < kFrames; i++) connected_->send(frame);
    run_for(*loop_, 50 * kNsPerMs);
    EXPECT_GT(connected_->queued_bytes(), 16u << 20);
    EXPECT_FALSE(drained);
    EXPECT_TRUE(frames_.empty());
    accepted_->resume_receiving();
    EXPECT_TRUE(run_until(*loop_, [&] { return frames_.size() == kFrames; }));
    EXPECT_TRUE(drained);
    EXPECT_EQ(connected_->queued_bytes(), 0u);
}

TEST_F(ChannelTest, AHandlerMayPauseBetweenTwoFrames) {
    connect();
    Channel::Handlers handlers = receiver();
    handlers.frame = [this](ByteSpan frame) {
        frames_.push_back(to_text(frame));
        accepted_->pause_receiving();
    };
    accepted_->set_handlers(handlers);
    for (const char* text : {"a", "b", "c"}) connected_->send(to_bytes(text));
    run_for(*loop_, 20 * kNsPerMs);
    EXPECT_EQ(frames_.size(), 1u);
    accepted_->resume_receiving();
    run_for(*loop_, 20 * kNsPerMs);
    EXPECT_EQ(frames_.size(), 2u) << "a frame that was read already comes without new traffic";
}

TEST_F(ChannelTest, ThePeersCloseIsReportedOnceAndAfterItsLastFrame) {
    connect();
    accepted_->set_handlers(receiver());
    connected_->send(to_bytes("last words"));
    connected_.reset();
    EXPECT_TRUE(run_until(*loop_, [&] { return closed_ > 0; }));
    EXPECT_EQ(frames_, std::vector<std::string>{"last words"});
    EXPECT_EQ(cause_, CloseCause::kPeerClosed);
    expect_contains(last_failure_, accepted_->peer());
    EXPECT_FALSE(accepted_->is_open());
    accepted_->send(to_bytes("into the void"));
    run_for(*loop_, 5 * kNsPerMs);
    EXPECT_EQ(closed_, 1);
}

TEST_F(ChannelTest, AHandlerMayDestroyTheChannel) {
    connect();
    accepted_->set_handlers({.frame = [this](ByteSpan) { accepted_.reset(); },
                             .closed = [](CloseCause, const Error&) { ADD_FAILURE(); },
                             .drained = {}});
    connected_->set_handlers({.frame = [](ByteSpan) {},
                              .closed = [this](CloseCause, const Error&) { connected_.reset(); },
                              .drained = {}});
    connected_->send(to_bytes("x"));
    connected_->send(to_bytes("y"));
    EXPECT_TRUE(run_until(*loop_, [&] { return !accepted_ && !connected_; }));
}

TEST_F(ChannelTest, ItReconnects) {
    connect();
    for (int i = 0; i < 3; i++) {
        accepted_->set_handlers(receiver());
        connected_.reset();
        EXPECT_TRUE(run_until(*loop_, [&] { return closed_ == i + 1; }));
        accepted_.reset();
        start_connecting();
        ASSERT_TRUE(run_until(*loop_, [&] { return accepted_ && connected_; }));
        connected_->send(to_bytes("again"));
    }
    accepted_->set_handlers(receiver());
    EXPECT_TRUE(run_until(*loop_, [&] { return !frames_.empty(); }));
}

TEST_F(ChannelTest, ItKeepsTryingUntilSomebodyListens) {
    listen();
    listener_.reset();  // the port is known now, and free
    start_connecting();
    EXPECT_TRUE(run_until(*loop_, [&] { return failures_ >= 3; }));
    EXPECT_EQ(connected_, nullptr);
    expect_contains(last_failure_, near_end_.text());
    listen();
    EXPECT_TRUE(run_until(*loop_, [&] { return accepted_ && connected_; }));
}

TEST_F(ChannelTest, ABusyPortIsNamed) {
    listen();
    auto second = listen_at(near_end_);
    ASSERT_FALSE(second.ok());
    expect_contains(second.error().message(), "is busy");
    expect_contains(second.error().message(), std::to_string(near_end_.port()));
    auto elsewhere = listen_at(SocketAddress::parse("192.0.2.1:0").take());
    ASSERT_FALSE(elsewhere.ok());
    expect_contains(elsewhere.error().message(), "none of this host's addresses");
}

TEST_F(ChannelTest, ATooLongFrameClosesTheChannel) {
    connect();
    accepted_->set_handlers(receiver());
    FileDescriptor stranger(::socket(AF_INET, SOCK_STREAM, 0));
    accepted_.reset();
    ASSERT_EQ(::connect(stranger.get(), near_end_.get(), near_end_.length), 0);
    ASSERT_TRUE(run_until(*loop_, [&] { return accepted_ != nullptr; }));
    accepted_->set_handlers(receiver());
    EXPECT_EQ(write(stranger.get(), "GET / HTTP/1.1\r\n", 16), 16);
    EXPECT_TRUE(run_until(*loop_, [&] { return closed_ > 0; }));
    EXPECT_EQ(cause_, CloseCause::kBroken);
    expect_contains(last_failure_, "frame of");
}

TEST_F(ChannelTest, ClosingAfterSendingLosesNothing) {
    connect();
    accepted_->set_handlers(receiver());
    accepted_->pause_receiving();
    constexpr size_t kFrames = 48;
    for (size_t i = 0; i < kFrames; i++) connected_->send(Bytes(1 << 20, 0x22));
    ASSERT_GT(connected_->queued_bytes(), 0u);
    bool finished = false;
    connected_->close_after_sending([&] { finished = true; });
    run_for(*loop_, 20 * kNsPerMs);
    EXPECT_FALSE(finished);
    accepted_->resume_receiving();
    EXPECT_TRUE(run_until(*loop_, [&] { return closed_ > 0; }));
    EXPECT_TRUE(finished);
    EXPECT_FALSE(connected_->is_open());
    EXPECT_EQ(frames_.size(), kFrames);
    EXPECT_EQ(cause_, CloseCause::kPeerClosed);
}

TEST_F(ChannelTest, ClosingAfterSendingEndsWhenThePeerIsGone) {
    connect();
    accepted_->set_handlers(receiver());
    accepted_->pause_receiving();
    for (size_t i = 0; i < 48; i++) connected_->send(Bytes(1 << 20, 0x22));
    int finished = 0;
    connected_->close_after_sending([&] { finished++; });
    accepted_.reset();
    EXPECT_TRUE(run_until(*loop_, [&] { return finished > 0; }));
    connected_->close_after_sending([&] { finished++; });
    EXPECT_TRUE(run_until(*loop_, [&] { return finished == 2; }));
}

TEST(SocketAddress, AreParsedAndPrinted) {
    EXPECT_EQ(SocketAddress::parse("10.1.2.3:7000").value().text(), "10.1.2.3:7000");
    EXPECT_EQ(SocketAddress::parse("[fd00::1]:7000").value().text(), "[fd00::1]:7000");
    EXPECT_EQ(SocketAddress::parse(":7000").value().text(), "0.0.0.0:7000");
    EXPECT_EQ(SocketAddress::parse("localhost:1").value().port(), 1);
    for (const char* bad :
         {"", "10.0.0.1", "10.0.0.1:", "10.0.0.1:65536", "10.0.0.1:x", "fd00::1:7000", "bad..name:1"}) {
        auto address = SocketAddress::parse(bad);
        EXPECT_FALSE(address.ok()) << bad;
        if (!address.ok() && *bad) expect_contains(address.error().message(), bad);
    }
}

}  // namespace
}  // namespace lockstep::host
