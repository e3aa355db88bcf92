// SPDX-License-Identifier: Apache-2.0
// The addresses that a guest has sent from: what is remembered, what is announced, and what a switch makes of it.
// And whether a guest's network leads anywhere.
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "host/network_device.h"
#include "host/source_addresses.h"
#include "support.h"

namespace lockstep::host {
namespace {

constexpr MacAddress kOwn{0x52, 0x54, 0, 0, 0, 1}, kSecond{0x52, 0x54, 0, 0, 0, 2},
    kThird{0x52, 0x54, 0, 0, 0, 3};
constexpr MacAddress kEverybody{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr uint16_t kTestType = 0x88b5;  // for local experiments (IEEE 802)

Bytes joined(std::initializer_list<ByteSpan> parts) {
    Bytes bytes;
    for (ByteSpan part : parts) bytes.insert(bytes.end(), part.begin(), part.end());
    return bytes;
}

/// A frame with these tags, as {0x81, 0, 0, 7}, and a payload of zeros.
Bytes frame_of(const MacAddress& to, const MacAddress& from, const Bytes& tags = {}) {
    Bytes frame = joined({to, from, tags, Bytes{kTestType >> 8, kTestType & 0xff}});
    frame.resize(100);
    return frame;
}

/// The source address and VLAN tags of a frame.
Bytes place_of(const Bytes& frame) {
    size_t end = 12;
    while (frame[end] == 0x81 || (frame[end] == 0x88 && frame[end + 1] == 0xa8)) end += 4;
    return {frame.begin() + 6, frame.begin() + static_cast<ptrdiff_t>(end)};
}

TEST(SourceAddresses, TheOwnAddressIsAnnouncedThoughItWasNeverUsed) {
    std::vector<Bytes> frames = SourceAddresses().announcements(kOwn, 0);
    ASSERT_EQ(frames.size(), 1u);
    Bytes head = joined({kEverybody, kOwn, Bytes{0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3}, kOwn, Bytes(4), kOwn});
    head.resize(60);
    EXPECT_EQ(frames[0], head) << "a reverse ARP request (RFC 903) of the shortest length";
}

TEST(SourceAddresses, EachAddressIsAnnouncedInEachOfItsVlans) {
    SourceAddresses sources;
    const Bytes in_seven{0x81, 0, 0x60, 7}, seven{0x81, 0, 0, 7}, service{0x88, 0xa8, 0, 5, 0x81, 0, 0, 7};
    sources.sent(frame_of(kThird, kOwn), 1);
    sources.sent(frame_of(kThird, kSecond, in_seven), 2);
    sources.sent(frame_of(kThird, kSecond, seven), 3);  // another priority, the same VLAN
    sources.sent(frame_of(kThird, kSecond, service), 4);
    sources.sent(frame_of(kOwn, kEverybody), 5);  // nobody's address
    sources.sent(Bytes(13), 6);
    EXPECT_EQ(sources.size(), 3u);
    std::vector<Bytes> places;
    for (const Bytes& frame : sources.announcements(kOwn, 7)) {
        EXPECT_EQ(frame.size(), 60u);
        places.push_back(place_of(frame));
    }
    EXPECT_EQ(places,
              (std::vector<Bytes>{joined({kOwn}), joined({kSecond, seven}), joined({kSecond, service})}));
}

TEST(SourceAddresses, TheyAreForgottenInTimeAndAreNeverMany) {
    SourceAddresses sources;
    sources.sent(frame_of(kThird, kSecond), 0);
    EXPECT_EQ(sources.announcements(kOwn, SourceAddresses::kRememberNs).size(), 2u);
    EXPECT_EQ(sources.announcements(kOwn, SourceAddresses::kRememberNs + 1).size(), 1u);
    for (unsigned i = 0; i < 100'000; ++i) {
        MacAddress invented{
            2, 0, 0, static_cast<uint8_t>(i >> 16), static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)};
        sources.sent(frame_of(kThird, invented), i);
    }
    EXPECT_EQ(sources.size(), SourceAddresses::kMost);
    EXPECT_EQ(sources.announcements(kOwn, 100'000).size(), SourceAddresses::kMost + 1);
}

TEST(SourceAddresses, WhatTheGuestSaidOfItsIpAddressesIsRepeated) {
    SourceAddresses sources;
    const Bytes ip{10, 77, 0, 9};
    Bytes arp_reply =
        joined({kThird, kSecond, Bytes{8, 6, 0, 1, 8, 0, 6, 4, 0, 2}, kSecond, ip, kThird, Bytes(4)});
    sources.sent(arp_reply, 1);
    std::vector<Bytes> frames = sources.announcements(kOwn, 2);
    ASSERT_EQ(frames.size(), 3u);
    Bytes wanted =
        joined({kEverybody, kSecond, Bytes{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, kSecond, ip, Bytes(6), ip});
    wanted.resize(60);
    EXPECT_EQ(frames[2], wanted) << "a gratuitous ARP (RFC 5227)";

    // A probe says nothing, and who speaks for another isn't believed.
    Bytes probe =
        joined({kEverybody, kThird, Bytes{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, kThird, Bytes(4), Bytes(6), ip});
    sources.sent(probe, 3);
    EXPECT_EQ(sources.announcements(kOwn, 4).size(), 4u);
}

TEST(SourceAddresses, ANeighbourAdvertisementHasAGoodChecksum) {
    SourceAddresses sources;
    Bytes address{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0, 0, 2};
    Bytes solicitation = joined({kThird, kSecond, Bytes{0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255}, address,
                                 Bytes(16, 0xff), Bytes{135, 0, 0, 0, 0, 0, 0, 0}, Bytes(16, 1)});
    sources.sent(solicitation, 1);
    std::vector<Bytes> frames = sources.announcements(kOwn, 2);
    ASSERT_EQ(frames.size(), 3u);
    const Bytes& frame = frames[2];
    ASSERT_EQ(frame.size(), 14u + 40 + 32);
    EXPECT_EQ(Bytes(frame.begin(), frame.begin() + 6), (Bytes{0x33, 0x33, 0, 0, 0, 1}));
    EXPECT_EQ(Bytes(frame.begin() + 22, frame.begin() + 38), address) << "its source";
    EXPECT_EQ(Bytes(frame.begin() + 62, frame.begin() + 78), address) << "its target";
    uint32_t sum = 58 + 32;  // with the checksum, over the pseudo-header and all that follows: all ones
    for (size_t at = 22; at < frame.size(); at += 2)
        sum += static_cast<uint32_t>(frame[at] << 8 | frame[at + 1]);
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    EXPECT_EQ(sum, 0xffffu);
}

/// A switch with VLANs in a namespace of this test: the ports of the host that had the guest (old), of a client
/// and, as a TAP device, of the host that has the guest now.
class SwitchTest : public testing::Test {
  protected:
    void SetUp() override {
        if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0)
            GTEST_SKIP() << "needs root, for a network namespace";
        if (!command("ip link add sw0 type bridge stp_state 0 forward_delay 0"))
            GTEST_SKIP() << "this kernel has no bridges";
        // Where the kernel can, the switch learns for each VLAN; else it looks at addresses alone.
        bool learns_by_vlan = command("ip link set sw0 type bridge vlan_filtering 1");
        for (const char* name : {"old", "cl"}) {
            ASSERT_TRUE(command(fmt::format("ip link add {0}0 type veth peer name {0}1", name)));
            ASSERT_TRUE(command(fmt::format("ip link set {0}0 master sw0 up && ip link set {0}1 up", name)));
        }
        ASSERT_TRUE(command("ip link set sw0 up"));
        loop_ = make_loop();
        tap_ = TapDevice::create(*loop_, {.name = "guest0", .bridge = "sw0"}).take();
        for (const char* port : {"old0", "cl0", "guest0"}) {
            if (learns_by_vlan) {
                ASSERT_TRUE(command(fmt::format("bridge vlan add dev {} vid 7", port)));
            }
        }
        tap_->set_receiver([this](std::span<const ByteSpan> packets) {
            for (ByteSpan packet : packets)
                received_.emplace_back(packet.begin() + TapDevice::kHeader, packet.end());
        });
    }
    static bool command(const std::string& text) { return std::system((text + " 2>/dev/null").c_str()) == 0; }

    /// Sends a frame into a port of the switch from outside.
    static void send_at(const char* device, const Bytes& frame) {
        FileDescriptor socket(::socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
        sockaddr_ll to{};
        to.sll_family = AF_PACKET;
        to.sll_ifindex = static_cast<int>(if_nametoindex(device));
        EXPECT_EQ(::sendto(socket.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&to),
                           sizeof to),
                  static_cast<ssize_t>(frame.size()));
    }
    /// Whether a client's frame to `mac` comes to the host that has the guest now.
    bool reaches(const MacAddress& mac, const Bytes& tags, uint64_t within_ns) {
        received_.clear();
        send_at("cl1", frame_of(mac, {2, 0, 0, 0, 0, 9}, tags));
        uint64_t end = loop_->now_ns() + within_ns;
        auto came = [&] {
            return std::ranges::any_of(
                received_, [&](const Bytes& f) { return std::equal(mac.begin(), mac.end(), f.begin()); });
        };
        while (!came() && loop_->now_ns() < end) loop_->run_once(kNsPerMs);
        return came();
    }

    /// Looks again and again: no event of the loop tells of a carrier.
    bool comes_true(const std::function<bool()>& condition) {
        uint64_t end = loop_->now_ns() + 10'000 * kNsPerMs;
        while (!condition() && loop_->now_ns() < end) run_for(*loop_, 10 * kNsPerMs);
        return condition();
    }

    std::unique_ptr<EventLoop> loop_;
    std::unique_ptr<TapDevice> tap_;
    std::vector<Bytes> received_;
};

TEST_F(SwitchTest, AllAddressesOfAGuestAreReachedWhereItWentAtOnce) {
    const Bytes plain{}, seven{0x81, 0, 0, 7};
    const std::pair<MacAddress, Bytes> used[] = {{kOwn, plain}, {kSecond, plain}, {kThird, seven}};
    SourceAddresses sources;
    for (const auto& [mac, tags] : used) {
        Bytes frame = frame_of({2, 0, 0, 0, 0, 9}, mac, tags);
        send_at("old1", frame);                // the guest, on the host where it was
        sources.sent(frame, loop_->now_ns());  // the same, as its backup executed it
    }
    run_for(*loop_, 20 * kNsPerMs);
    for (const auto& [mac, tags] : used)
        EXPECT_FALSE(reaches(mac, tags, 20 * kNsPerMs)) << "the switch knows better";

    // Nothing but an announcement can tell the switch; how long a busy host takes for it is no matter.
    tap_->announce(sources.announcements(kOwn, loop_->now_ns()));
    for (const auto& [mac, tags] : used) EXPECT_TRUE(reaches(mac, tags, 10'000 * kNsPerMs)) << mac_text(mac);
}

TEST_F(SwitchTest, ANetworkThatLeadsNowhereIsSeen) {
    auto fault = [] { return guest_link_fault("guest0", "sw0"); };
    EXPECT_EQ(fault(), "");
    EXPECT_EQ(guest_link_fault("guest0", ""), "");
    ASSERT_TRUE(command("ip link set cl1 down"));
    run_for(*loop_, 20 * kNsPerMs);
    EXPECT_EQ(fault(), "") << "there is another way out";
    ASSERT_TRUE(command("ip link set old1 down"));
    EXPECT_TRUE(comes_true([&] { return !fault().empty(); }));
    expect_contains(fault(), "old0");
    expect_contains(fault(), "of the bridge sw0 has no carrier");
    ASSERT_TRUE(command("ip link set old1 up"));
    EXPECT_TRUE(comes_true([&] { return fault().empty(); }));
    ASSERT_TRUE(command("ip link set sw0 down"));
    EXPECT_EQ(fault(), "the bridge sw0 is down or gone");
    ASSERT_TRUE(command("ip link set sw0 up && ip link set guest0 nomaster"));
    EXPECT_EQ(fault(), "the TAP device guest0 is no port of the bridge sw0 any more");
    ASSERT_TRUE(command("ip link set guest0 down"));
    EXPECT_EQ(fault(), "the TAP device guest0 is down");
    tap_.reset();
    EXPECT_EQ(fault(), "the TAP device guest0 is gone");
}

/// A bridge with guests alone is their own network: nothing is missing.
TEST_F(SwitchTest, ABridgeWithoutWaysOutIsWell) {
    ASSERT_TRUE(command("ip link del old0 && ip link del cl0"));
    EXPECT_EQ(guest_link_fault("guest0", "sw0"), "");
}

}  // namespace
}  // namespace lockstep::host
