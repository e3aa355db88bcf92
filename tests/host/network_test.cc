// SPDX-License-Identifier: Apache-2.0
// TAP devices, and a channel over a link that dies, in a network namespace of this process's own.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/acceptor.h"
#include "host/channel.h"
#include "host/sockets.h"
#include "host/tap_device.h"
#include "support.h"

namespace lockstep::host {
namespace {

const MacAddress kMac{0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

void set_link_up(const char* name, bool up) {
    FileDescriptor control(socket(AF_INET, SOCK_DGRAM, 0));
    ifreq request{};
    std::string(name).copy(request.ifr_name, IFNAMSIZ - 1);
    ASSERT_EQ(ioctl(control.get(), SIOCGIFFLAGS, &request), 0);
    request.ifr_flags = static_cast<short>(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    ASSERT_EQ(ioctl(control.get(), SIOCSIFFLAGS, &request), 0);
}

/// What stands on the kernel's side of a device.
class PacketSocket {
  public:
    explicit PacketSocket(const char* device)
        : socket_(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL))) {
        sockaddr_ll address{};
        address.sll_family = AF_PACKET;
        address.sll_protocol = htons(ETH_P_ALL);
        address.sll_ifindex = static_cast<int>(if_nametoindex(device));
        EXPECT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    }
    void send(const Bytes& frame) {
        EXPECT_EQ(::send(socket_.get(), frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
    }
    /// The frames that came from the TAP's holder and have this Ethernet type.
    std::vector<Bytes> received(uint16_t type) {
        std::vector<Bytes> frames;
        for (;;) {
            Bytes frame(70'000);
            sockaddr_ll from{};
            socklen_t length = sizeof from;
            ssize_t size = recvfrom(socket_.get(), frame.data(), frame.size(), 0,
                                    reinterpret_cast<sockaddr*>(&from), &length);
            if (size < 0) return frames;
            frame.resize(static_cast<size_t>(size));
            bool ours =
                from.sll_pkttype != PACKET_OUTGOING && frame[12] == type >> 8 && frame[13] == (type & 0xff);
            if (ours) frames.push_back(std::move(frame));
        }
    }

  private:
    FileDescriptor socket_;
};

constexpr uint16_t kTestType = 0x88b5;  // for local experiments (IEEE 802)

Bytes test_frame(uint8_t number, size_t size = 100) {
    Bytes frame(size, number);
    std::fill_n(frame.begin(), 6, 0xff);
    std::copy(kMac.begin(), kMac.end(), frame.begin() + 6);
    frame[12] = kTestType >> 8;
    frame[13] = kTestType & 0xff;
    return frame;
}

/// Sends frames with headers that ask for nothing, or with this one.
void send_frames(TapDevice& tap, const std::vector<Bytes>& frames,
                 const Bytes& header = Bytes(TapDevice::kHeader)) {
    std::vector<Bytes> packets;
    for (const Bytes& frame : frames) {
        packets.push_back(header);
        packets.back().insert(packets.back().end(), frame.begin(), frame.end());
    }
    std::vector<ByteSpan> views(packets.begin(), packets.end());
    tap.send(views);
}

class NetworkTest : public testing::Test {
  protected:
    static void SetUpTestSuite() {
        if (geteuid() != 0) return;
        namespace_made_ = unshare(CLONE_NEWNET) == 0;
        if (namespace_made_) set_link_up("lo", true);
    }
    void SetUp() override {
        if (!namespace_made_) GTEST_SKIP() << "needs the right to make a network namespace (root)";
        loop_ = make_loop();
    }
    std::unique_ptr<TapDevice> make_tap(const TapOptions& options = {.name = "guest0", .bridge = ""}) {
        auto tap = TapDevice::create(*loop_, options);
        EXPECT_TRUE(tap.ok()) << (tap.ok() ? "" : tap.error().message());
        return tap.take();
    }
    void receive(TapDevice& tap) {
        tap.set_receiver([this](std::span<const ByteSpan> packets) {
            batches_++;
            for (ByteSpan packet : packets) {
                ByteSpan frame = packet.subspan(TapDevice::kHeader);
                if (frame[12] != kTestType >> 8 || frame[13] != (kTestType & 0xff)) continue;
                headers_.emplace_back(packet.begin(), packet.begin() + TapDevice::kHeader);
                received_.emplace_back(frame.begin(), frame.end());
            }
        });
    }

    static inline bool namespace_made_ = false;
    std::unique_ptr<EventLoop> loop_;
    std::vector<Bytes> headers_, received_;
    int batches_ = 0;
};

TEST_F(NetworkTest, FramesPassBothWaysInBatches) {
    auto tap = make_tap();
    PacketSocket kernel("guest0");
    receive(*tap);
    for (uint8_t i = 0; i < 100; i++) kernel.send(test_frame(i, 60 + i * 10u));
    EXPECT_TRUE(run_until(*loop_, [&] { return received_.size() == 100; }));
    for (uint8_t i = 0; i < 100; i++) EXPECT_EQ(received_[i], test_frame(i, 60 + i * 10u));
    EXPECT_LT(batches_, 20);

    std::vector<Bytes> frames;
    for (uint8_t i = 0; i < 50; i++) frames.push_back(test_frame(i));
    send_frames(*tap, frames);
    EXPECT_EQ(kernel.received(kTestType), frames);
    EXPECT_EQ(tap->counters().frames_out, 50u);
    EXPECT_EQ(tap->counters().dropped_out, 0u);
}

TEST_F(NetworkTest, HeadersAreDefinedToTheLastByte) {
    auto tap = make_tap();
    PacketSocket kernel("guest0");
    receive(*tap);
    for (uint8_t i = 0; i < 3; i++) kernel.send(test_frame(0xff, 1000));
    EXPECT_TRUE(run_until(*loop_, [&] { return headers_.size() == 3; }));
    // A second batch is read over the first.
    for (uint8_t i = 0; i < 20; i++) kernel.send(test_frame(0xff, 60));
    EXPECT_TRUE(run_until(*loop_, [&] { return headers_.size() == 23; }));
    for (const Bytes& header : headers_) EXPECT_EQ(header, Bytes(TapDevice::kHeader));
}

/// An IPv4 and TCP packet of `size` bytes of data behind its Ethernet header, its checksum left undone.
Bytes large_tcp_frame(size_t size) {
    Bytes frame(54 + size, 7);
    std::fill_n(frame.begin(), 6, 0xff);
    std::copy(kMac.begin(), kMac.end(), frame.begin() + 6);
    uint16_t total = static_cast<uint16_t>(40 + size);
    const Bytes headers = {8,
                           0,
                           0x45,
                           0,
                           static_cast<uint8_t>(total >> 8),
                           static_cast<uint8_t>(total),
                           0,
                           1,
                           0x40,
                           0,
                           64,
                           6,
                           0,
                           0,
                           10,
                           0,
                           0,
                           1,
                           10,
                           0,
                           0,
                           2,
                           0,
                           80,
                           0,
                           90,
                           0,
                           0,
                           0,
                           1,
                           0,
                           0,
                           0,
                           1,
                           0x50,
                           0x10,
                           1,
                           0,
                           0,
                           0,
                           0,
                           0};
    std::copy(headers.begin(), headers.end(), frame.begin() + 12);
    uint32_t sum = 0;  // of the IPv4 header; a bridge may check it
    for (size_t i = 14; i < 34; i += 2) sum += static_cast<uint32_t>(frame[i] << 8 | frame[i + 1]);
    sum = ~((sum & 0xffff) + (sum >> 16));
    frame[24] = static_cast<uint8_t>(sum >> 8);
    frame[25] = static_cast<uint8_t>(sum);
    return frame;
}

// Needs a checksum from byte 34 on, at 16 from there; segments of 1000 bytes of TCP over IPv4.
const Bytes kLargeTcp = {1, 1, 54, 0, 0xe8, 3, 34, 0, 16, 0, 0, 0};

TEST_F(NetworkTest, LargePacketsLeaveAndMalformedOnesHarmNothing) {
    auto tap = make_tap();
    PacketSocket kernel("guest0");
    Bytes large = large_tcp_frame(9000);
    send_frames(*tap, {large}, kLargeTcp);
    std::vector<Bytes> seen = kernel.received(0x0800);
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_EQ(seen[0].size(), large.size());
    std::vector<Bytes> malformed = {
        {1, 1, 54, 0, 0, 0, 34, 0, 16, 0, 0, 0},          // segments of no bytes
        {1, 1, 54, 0, 0xe8, 3, 0xff, 0xff, 16, 0, 0, 0},  // a sum from beyond the end
        {1, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0},
        {0, 4, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0},
    };
    for (const Bytes& header : malformed) send_frames(*tap, {large, Bytes(3)}, header);
    std::vector<ByteSpan> short_ones(2, ByteSpan(kLargeTcp).first(5));
    tap->send(short_ones);
    EXPECT_GE(tap->counters().dropped_out, 4u);
    kernel.received(0x0800);
    send_frames(*tap, {test_frame(1)});
    EXPECT_EQ(kernel.received(kTestType).size(), 1u) << "the device goes on";
}

TEST_F(NetworkTest, TheGuestGetsOnlyWhatItTakes) {
    // A packet made by one guest for another, through a bridge.
    FileDescriptor control(socket(AF_INET, SOCK_DGRAM, 0));
    if (ioctl(control.get(), SIOCBRADDBR, "bridge0") < 0) GTEST_SKIP() << "this kernel has no bridges";
    set_link_up("bridge0", true);
    auto one = make_tap({.name = "guest0", .bridge = "bridge0"});
    auto other = make_tap({.name = "guest1", .bridge = "bridge0"});
    std::vector<Bytes> packets;
    other->set_receiver([&](std::span<const ByteSpan> got) {
        for (ByteSpan packet : got)
            if (packet.size() > 600) packets.emplace_back(packet.begin(), packet.end());
    });
    auto arrive = [&] {
        packets.clear();
        EXPECT_TRUE(run_until(*loop_, [&] {
            send_frames(*one, {large_tcp_frame(3000)}, kLargeTcp);
            loop_->run_once(50 * kNsPerMs);
            return !packets.empty();
        }));
    };
    arrive();
    EXPECT_EQ(packets[0].size(), TapDevice::kHeader + 54 + 1000) << "cut by the kernel";
    EXPECT_EQ(packets[0][0], 0) << "with its checksum";
    other->set_offloads({.checksum = true, .tcp4 = true});
    arrive();
    EXPECT_EQ(packets.back().size(), TapDevice::kHeader + 54 + 3000);
    EXPECT_EQ(packets.back()[0] & 1, 1);
    EXPECT_EQ(packets.back()[1], 1);
    other->set_offloads({});
    one.reset();
    other.reset();
    set_link_up("bridge0", false);
    ioctl(control.get(), SIOCBRDELBR, "bridge0");
}

TEST_F(NetworkTest, StaleFramesAreThrownAwayAndPausedOnesWait) {
    auto tap = make_tap();
    PacketSocket kernel("guest0");
    kernel.send(test_frame(1));
    receive(*tap);
    tap->pause_receiving();
    kernel.send(test_frame(2));
    run_for(*loop_, 10 * kNsPerMs);
    EXPECT_TRUE(received_.empty());
    tap->resume_receiving();
    EXPECT_TRUE(run_until(*loop_, [&] { return !received_.empty(); }));
    EXPECT_EQ(received_[0], test_frame(2));
}

TEST_F(NetworkTest, AnIdleTapCostsNothing) {
    auto tap = make_tap();
    receive(*tap);
    uint64_t before = cpu_time_ns();
    run_for(*loop_, 100 * kNsPerMs);
    EXPECT_LT(cpu_time_ns() - before, 20 * kNsPerMs);
}

TEST_F(NetworkTest, AnnouncementsComeSeveralTimes) {
    auto tap = make_tap();
    PacketSocket kernel("guest0");
    tap->announce({test_frame(1), test_frame(2)}, 2);
    EXPECT_EQ(kernel.received(kTestType), (std::vector<Bytes>{test_frame(1), test_frame(2)})) << "at once";
    run_for(*loop_, 300 * kNsPerMs);
    EXPECT_EQ(kernel.received(kTestType).size(), 4u);
}

TEST_F(NetworkTest, ABusyNameIsNamed) {
    auto tap = make_tap();
    auto second = TapDevice::create(*loop_, {.name = "guest0", .bridge = ""});
    ASSERT_FALSE(second.ok());
    expect_contains(second.error().message(), "guest0");
    expect_contains(second.error().message(), "another process holds");
    tap.reset();
    EXPECT_TRUE(TapDevice::create(*loop_, {.name = "guest0", .bridge = ""}).ok());
}

TEST_F(NetworkTest, ADeviceOfAnotherKindIsRefused) {
    auto loopback = TapDevice::create(*loop_, {.name = "lo", .bridge = ""});
    ASSERT_FALSE(loopback.ok());
    expect_contains(loopback.error().message(), "is no TAP device");
    EXPECT_FALSE(TapDevice::create(*loop_, {.name = "", .bridge = ""}).ok());
    EXPECT_FALSE(TapDevice::create(*loop_, {.name = "a-name-that-is-too-long", .bridge = ""}).ok());
}

TEST_F(NetworkTest, ItJoinsABridge) {
    auto missing = TapDevice::create(*loop_, {.name = "guest0", .bridge = "bridge0"});
    ASSERT_FALSE(missing.ok());
    expect_contains(missing.error().message(), "there is no bridge bridge0");
    FileDescriptor control(socket(AF_INET, SOCK_DGRAM, 0));
    if (ioctl(control.get(), SIOCBRADDBR, "bridge0") < 0) GTEST_SKIP() << "this kernel has no bridges";
    set_link_up("bridge0", true);
    auto one = make_tap({.name = "guest0", .bridge = "bridge0"});
    auto other = make_tap({.name = "guest1", .bridge = "bridge0"});
    receive(*other);
    // A port forwards once spanning tree's delay, which is off by default here, is over.
    std::vector<Bytes> frames{test_frame(9)};
    EXPECT_TRUE(run_until(*loop_, [&] {
        send_frames(*one, frames);
        loop_->run_once(50 * kNsPerMs);
        return !received_.empty();
    }));
    one.reset();
    other.reset();
    set_link_up("bridge0", false);
    ioctl(control.get(), SIOCBRDELBR, "bridge0");
}

TEST_F(NetworkTest, APortOfItsBridgeIsLeftThereAndOneOfAnotherIsRefused) {
    FileDescriptor control(socket(AF_INET, SOCK_DGRAM, 0));
    if (ioctl(control.get(), SIOCBRADDBR, "bridge0") < 0) GTEST_SKIP() << "this kernel has no bridges";
    ioctl(control.get(), SIOCBRADDBR, "bridge1");
    FileDescriptor persistent(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    ifreq device{};
    std::strcpy(device.ifr_name, "guest0");
    device.ifr_flags = IFF_TAP | IFF_NO_PI;
    ASSERT_EQ(ioctl(persistent.get(), TUNSETIFF, &device), 0);
    ASSERT_EQ(ioctl(persistent.get(), TUNSETPERSIST, 1), 0);
    persistent.reset();
    for (int i = 0; i < 2; ++i) make_tap({.name = "guest0", .bridge = "bridge0"});
    auto refused = TapDevice::create(*loop_, {.name = "guest0", .bridge = "bridge1"});
    ASSERT_FALSE(refused.ok());
    expect_contains(refused.error().message(), "a port of another bridge than bridge1");
    auto no_bridge = TapDevice::create(*loop_, {.name = "guest1", .bridge = "lo"});
    ASSERT_FALSE(no_bridge.ok());
    expect_contains(no_bridge.error().message(), "lo is no bridge");
    FileDescriptor last(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    EXPECT_EQ(ioctl(last.get(), TUNSETIFF, &device), 0);
    EXPECT_EQ(ioctl(last.get(), TUNSETPERSIST, 0), 0);
    last.reset();
    ioctl(control.get(), SIOCBRDELBR, "bridge0");
    ioctl(control.get(), SIOCBRDELBR, "bridge1");
}

TEST_F(NetworkTest, AMissingRightIsNamed) {
    pid_t child = fork();
    if (child == 0) {
        constexpr uid_t kNobody = 65534;
        if (setgid(kNobody) != 0 || setuid(kNobody) != 0) _exit(2);
        auto tap = TapDevice::create(*loop_, {.name = "guest0", .bridge = ""});
        bool named = !tap.ok() && tap.error().message().find("run as root") != std::string::npos;
        bool capability = !tap.ok() && tap.error().message().find("CAP_NET_ADMIN") != std::string::npos;
        _exit(named || capability ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
}

TEST_F(NetworkTest, AChannelWhoseLinkDiesIsBroken) {
    ChannelOptions options{.user_timeout_ms = 400};
    std::unique_ptr<Channel> accepted, connected;
    Acceptor listener(
        *loop_, listen_at(SocketAddress::parse("127.0.0.1:0").take()).take(),
        [&](FileDescriptor connection) { accepted = make_channel(*loop_, std::move(connection), options); });
    ChannelConnector connector(
        *loop_, local_address(listener.descriptor()), options, {},
        [&](FileDescriptor socket) { connected = make_channel(*loop_, std::move(socket), options); }, {});
    ASSERT_TRUE(run_until(*loop_, [&] { return accepted && connected; }));
    std::optional<CloseCause> cause;
    connected->set_handlers(
        {.frame = [](ByteSpan) {}, .closed = [&](CloseCause c, const Error&) { cause = c; }, .drained = {}});
    set_link_up("lo", false);
    connected->send(to_bytes("unheard"));
    EXPECT_TRUE(run_until(*loop_, [&] { return cause.has_value(); }));
    EXPECT_EQ(cause, CloseCause::kBroken);
    set_link_up("lo", true);
}

TEST(MacAddress, AreParsedAndPrinted) {
    EXPECT_EQ(parse_mac("52:54:00:12:34:56").value(), kMac);
    EXPECT_EQ(mac_text(kMac), "52:54:00:12:34:56");
    EXPECT_FALSE(parse_mac("00:00:00:00:00:00").ok());
    for (const char* bad : {"", "52:54:00:12:34", "52:54:00:12:34:56:78", "52-54-00-12-34-56",
                            "52:54:00:12:34:5g", "53:54:00:12:34:56"})
        EXPECT_FALSE(parse_mac(bad).ok()) << bad;
}

}  // namespace
}  // namespace lockstep::host
