// SPDX-License-Identifier: Apache-2.0
// What a process that dies leaves of the frames that came in for its guest.
#include "host/orphan_frames.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>

#include "host/death_watch.h"
#include "host/file_descriptor.h"
#include "host/sockets.h"

namespace lockstep::host {
namespace {

// --- The ring ---

ByteSpan put(FrameRing& ring, size_t size, uint8_t fill) {
    std::fill_n(ring.room().begin(), size, fill);
    return ring.keep(size);
}

/// The first byte of each frame from this entry on.
std::vector<int> frames_from(const FrameRing& ring, uint64_t entry) {
    std::vector<int> found;
    ring.for_each_from(LogPos(entry), [&](ByteSpan frame) { found.push_back(frame[0]); });
    return found;
}

TEST(FrameRing, KeepsWhatIsInAnEntryFromThereOnOrInNone) {
    auto ring = std::make_unique<FrameRing>();
    put(*ring, 60, 1);
    put(*ring, 60, 2);
    ring->end_input();
    put(*ring, 60, 3);
    ring->end_input();
    ring->entered(LogPos(10));
    put(*ring, 60, 4);
    EXPECT_EQ(frames_from(*ring, 10), (std::vector<int>{1, 2, 3, 4}));
    EXPECT_EQ(frames_from(*ring, 11), (std::vector<int>{3, 4})) << "the second input has no entry yet";
    ring->entered(LogPos(12));
    EXPECT_EQ(frames_from(*ring, 12), (std::vector<int>{3, 4}));
    EXPECT_EQ(frames_from(*ring, 13), std::vector<int>{4});
    ring->forget();
    EXPECT_EQ(frames_from(*ring, 0), std::vector<int>{});
}

TEST(FrameRing, AnInputWithoutFramesOfItsOwnHasItsEntryToo) {
    auto ring = std::make_unique<FrameRing>();
    ring->end_input();
    put(*ring, 60, 1);
    ring->end_input();
    ring->entered(LogPos(3));
    EXPECT_EQ(frames_from(*ring, 4), std::vector<int>{1});
    ring->entered(LogPos(4));
    EXPECT_EQ(frames_from(*ring, 5), std::vector<int>{});
}

TEST(FrameRing, TheOldestMakeWayAndTheOthersStayWhole) {
    constexpr unsigned kSeed = 1;
    std::mt19937 random(kSeed);
    auto ring = std::make_unique<FrameRing>();
    uint64_t entered = 0;
    for (int i = 0; i < 20'000; ++i) {
        bool large =
            random() % 4 == 0 && i % 6000 < 3000;  // and times of small ones, of which there are many
        size_t size = 1 + random() % (large ? FrameRing::kLargest : 100);
        put(*ring, size, static_cast<uint8_t>(i));
        ring->end_input();
        if (random() % 2) ring->entered(LogPos(entered++));
        int next = -1;
        size_t count = 0;
        ring->for_each_from(LogPos(0), [&](ByteSpan frame) {
            ASSERT_TRUE(next < 0 || frame[0] == next) << "after " << i << " frames, seed " << kSeed;
            ASSERT_EQ(frame[0], frame[frame.size() / 2]) << "after " << i << " frames, seed " << kSeed;
            ASSERT_EQ(frame[0], frame[frame.size() - 1]) << "after " << i << " frames, seed " << kSeed;
            next = static_cast<uint8_t>(frame[0] + 1);
            ++count;
        });
        ASSERT_EQ(next, static_cast<uint8_t>(i + 1)) << "the newest is there";
        ASSERT_LE(count, FrameRing::kMostFrames);
    }
}

// --- The watcher ---

const MacAddress kMac{0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
const Bytes kWords = {'f', 'o', 'r', ' ', 'y', 'o', 'u'};

/// The words, the network, and the last byte of each packet.
Bytes datagram_of(ByteSpan words, size_t network, std::span<const ByteSpan> packets) {
    Bytes datagram(words.begin(), words.end());
    datagram.push_back(static_cast<uint8_t>('0' + network));
    for (ByteSpan packet : packets) datagram.push_back(packet.back());
    return datagram;
}

Bytes packet(char last) {
    Bytes bytes(TapDevice::kHeader + 60, 9);
    bytes.back() = static_cast<uint8_t>(last);
    return bytes;
}

Bytes announcement() {
    Bytes bytes = packet('!');
    std::copy(kMac.begin(), kMac.end(), bytes.begin() + TapDevice::kHeader + 6);
    return bytes;
}

/// A process with a watcher, whose TAP device is one end of a pair of sockets.
class OrphanFramesTest : public testing::Test {
  protected:
    void SetUp() override {
        at_ = SocketAddress::parse("127.0.0.1:0").take();
        heir_ = FileDescriptor(::socket(AF_INET, SOCK_DGRAM, 0));
        ASSERT_EQ(::bind(heir_.get(), at_.get(), at_.length), 0);
        at_ = local_address(heir_.get());
        int ends[2];
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends), 0);
        tap_ = FileDescriptor(ends[0]);
        network_ = FileDescriptor(ends[1]);
    }
    void TearDown() override {
        if (child_ <= 0) return;
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
    }
    /// In a process of its own, which reads a packet 'a' that the backup has, then 'b' and 'c', and sends itself
    /// this signal.
    void serve_until(int signal, const std::function<void(OrphanFrames&)>& in_child) {
        child_ = ::fork();
        if (child_ == 0) {
            auto& orphans = *new OrphanFrames(datagram_of);
            new DeathWatch([&] { orphans.forward("has died"); });
            orphans.set_device(2, tap_.get(), kMac);
            FrameRing& ring = orphans.ring(2);
            for (char last : {'a', 'b', 'c'}) {
                Bytes read = packet(last);
                std::copy(read.begin(), read.end(), ring.room().begin());
                ring.keep(read.size());
                ring.end_input();
            }
            ring.entered(LogPos(4));
            ring.entered(LogPos(5));
            orphans.acknowledged(LogPos(5));
            in_child(orphans);
            ::kill(::getpid(), signal);
            ::pause();
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child_, &status, WUNTRACED), child_);
        if (!WIFSTOPPED(status)) child_ = 0;
    }
    void set_heir(OrphanFrames& orphans) {
        orphans.set_heir(at_, Bytes(3, 'x'), std::nullopt);
        orphans.set_heir(at_, kWords, kSealKey);
    }
    void bring(const Bytes& packet) {
        ASSERT_EQ(::send(network_.get(), packet.data(), packet.size(), 0),
                  static_cast<ssize_t>(packet.size()));
    }
    /// The next datagram; "" where none comes within the time.
    std::string heard(int timeout_ms) {
        pollfd polled = {heir_.get(), POLLIN, 0};
        if (::poll(&polled, 1, timeout_ms) != 1) return "";
        char bytes[2000];
        ssize_t size = ::recv(heir_.get(), bytes, sizeof bytes, 0);
        auto opened = opener_.open({reinterpret_cast<const uint8_t*>(bytes), static_cast<size_t>(size)});
        EXPECT_TRUE(opened) << "it isn't sealed as the heir expects";
        return opened ? std::string(opened->begin(), opened->end()) : "";
    }

    static constexpr int kLongMs = 10'000, kShortMs = 100;
    static constexpr DatagramKey kSealKey = {7};
    DatagramOpener opener_{kSealKey};
    SocketAddress at_;
    FileDescriptor heir_, tap_, network_;
    pid_t child_ = 0;
};

TEST_F(OrphanFramesTest, TheHeirGetsWhatTheBackupHasntGotAndWhatComes) {
    serve_until(SIGKILL, [&](OrphanFrames& orphans) { set_heir(orphans); });
    EXPECT_EQ(heard(kLongMs), "for you2bc");
    bring(packet('d'));
    EXPECT_EQ(heard(kLongMs), "for you2d");
}

TEST_F(OrphanFramesTest, WhatWaitsInTheDeviceIsForwardedToo) {
    bring(packet('d'));
    bring(packet('e'));
    serve_until(SIGKILL, [&](OrphanFrames& orphans) { set_heir(orphans); });
    EXPECT_EQ(heard(kLongMs), "for you2bc");
    EXPECT_EQ(heard(kLongMs), "for you2d");
    EXPECT_EQ(heard(kLongMs), "for you2e");
}

TEST_F(OrphanFramesTest, OnceTheGuestIsAnnouncedElsewhereTheWatcherEnds) {
    serve_until(SIGKILL, [&](OrphanFrames& orphans) { set_heir(orphans); });
    EXPECT_EQ(heard(kLongMs), "for you2bc");
    bring(announcement());
    ::usleep(100'000);  // less than the watcher waits without an announcement
    bring(packet('d'));
    EXPECT_EQ(heard(kShortMs), "");
}

TEST_F(OrphanFramesTest, WithoutAnAnnouncementTheWatcherEndsByItself) {
    serve_until(SIGKILL, [&](OrphanFrames& orphans) { set_heir(orphans); });
    EXPECT_EQ(heard(kLongMs), "for you2bc");
    ::usleep(400'000);
    bring(packet('d'));
    EXPECT_EQ(heard(kShortMs), "");
}

TEST_F(OrphanFramesTest, AFloodEndsAtItsBound) {
    serve_until(SIGKILL, [&](OrphanFrames& orphans) { set_heir(orphans); });
    EXPECT_EQ(heard(kLongMs), "for you2bc");
    constexpr size_t kLarge = 30'000;
    Bytes large(kLarge, 'd');
    size_t forwarded = 0;
    for (int i = 0; i < 200; ++i) {
        ::send(network_.get(), large.data(), large.size(), 0);
        forwarded += heard(1) == "for you2d";
    }
    EXPECT_LE(forwarded, OrphanFrames::kMostBytes / kLarge);
    EXPECT_GT(forwarded, 0u);
}

TEST_F(OrphanFramesTest, OfAProcessThatWasStoppedNothingIsForwarded) {
    serve_until(SIGSTOP, [&](OrphanFrames& orphans) { set_heir(orphans); });
    bring(packet('d'));
    EXPECT_EQ(heard(kShortMs), "");
}

TEST_F(OrphanFramesTest, WithoutAnHeirNothingIsForwarded) {
    serve_until(SIGKILL, [&](OrphanFrames& orphans) {
        set_heir(orphans);
        orphans.forget_heir();
    });
    bring(packet('d'));
    EXPECT_EQ(heard(kShortMs), "");
}

}  // namespace
}  // namespace lockstep::host
