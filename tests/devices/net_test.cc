// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/net/net.h"

#include <numeric>

#include "virtio_driver.h"

namespace lockstep::devices::virtio {
namespace {

constexpr uint16_t kDevice = 32;
constexpr unsigned kReceive = 0, kTransmit = 1;
// Features (Virtio 1.2, 5.1.3).
constexpr uint64_t kPlain = 1, kGuestChecksum = 2, kGuestTcp4 = 1 << 7, kGuestTcp6 = 1 << 8,
                   kGuestEcn = 1 << 9, kHostTcp4 = 1 << 11, kMerge = 1 << 15;
constexpr uint64_t kBuffers = 0x100000, kBufferStep = 0x1000;

Bytes to_bytes(const NetHeader& header) {
    ByteSpan bytes = bytes_of(header);
    return {bytes.begin(), bytes.end()};
}

Bytes joined(const NetHeader& header, const Bytes& frame) {
    Bytes packet;
    ByteWriter out(packet);
    out.raw(bytes_of(header));
    out.raw(frame);
    return packet;
}

class NetTest : public testing::Test {
  protected:
    NetTest() { start(kPlain); }
    /// Another device, with a driver that chose these features.
    void start(uint64_t features, NetFeatures offered = NetFeatures::kOffloads) {
        auto model = std::make_unique<Net>(kDevice, "network0", std::array<uint8_t, 6>{2, 0, 0, 0, 0, 9},
                                           offered, sink_);
        net_ = model.get();
        bench_ = std::make_unique<VirtioBench>(std::move(model));
        bench_->start(features);
        posted_ = offered_ = 0;
        sink_.outputs.clear();
    }
    void post(unsigned count, uint32_t size = 1526) {
        for (unsigned i = 0; i < count; ++i)
            bench_->queues[kReceive].add({{kBuffers + posted_++ % 64 * kBufferStep, size, true}});
    }
    void receive(std::vector<Bytes> frames) {
        for (Bytes& frame : frames) frame.insert(frame.begin(), kNetHeaderSize, 0);
        receive_packets(std::move(frames));
    }
    /// With their headers.
    void receive_packets(std::vector<Bytes> packets) {
        bench_->transport.input(entry(kDevice, record::NetworkReceive{std::move(packets)}));
    }
    /// Puts a packet with its header into memory and offers it, without notifying.
    void queue_packet(const Bytes& packet, Bytes header = Bytes(12)) {
        uint64_t at = kBuffers + 0x80000 + offered_++ * 0x1000;
        bench_->put(at, header);
        bench_->put(at + 12, packet);
        bench_->queues[kTransmit].add(
            {{at, 12, false}, {at + 12, static_cast<uint32_t>(packet.size()), false}});
    }
    /// Frames that were sent; the headers are in headers_.
    std::vector<Bytes> sent(size_t index) {
        std::vector<Bytes> frames;
        headers_.clear();
        for (const Bytes& packet : sent_packets(index)) {
            headers_.push_back(read_net_header(packet));
            frames.emplace_back(packet.begin() + kNetHeaderSize, packet.end());
        }
        return frames;
    }
    std::vector<Bytes> sent_packets(size_t index) {
        std::vector<Bytes> packets;
        for (ByteSpan packet : std::get<bus::Packets>(sink_.outputs.at(index).what).views())
            packets.emplace_back(packet.begin(), packet.end());
        return packets;
    }

    TestSink sink_;
    Net* net_ = nullptr;
    std::unique_ptr<VirtioBench> bench_;
    unsigned posted_ = 0, offered_ = 0;
    std::vector<NetHeader> headers_;
};

TEST_F(NetTest, ConfigurationHoldsTheAddress) {
    EXPECT_EQ(bench_->read(0x2000, 4), 2u);
    EXPECT_EQ(bench_->read(0x2004, 2), 0x0900u);
    EXPECT_EQ(bench_->read(0x2006, 2), 1u);
}

TEST_F(NetTest, ABatchIsOneInterrupt) {
    post(4);
    receive({Bytes(60, 1), Bytes(1514, 2), Bytes(100, 3)});
    auto used = bench_->queues[kReceive].take_used();
    ASSERT_EQ(used.size(), 3u);
    EXPECT_EQ(used[1], (UsedElement{1, 1526}));
    EXPECT_EQ(bench_->take_interrupts(kReceive), 1u);
    EXPECT_EQ(bench_->get(kBuffers + 12, 60), Bytes(60, 1));
    EXPECT_EQ(bench_->get(kBuffers, 12), (Bytes{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}));
    EXPECT_EQ(net_->state().received, 3u);
}

TEST_F(NetTest, PacketsWaitForBuffers) {
    post(1);
    receive({Bytes(60, 1), Bytes(60, 2)});
    EXPECT_EQ(bench_->queues[kReceive].take_used().size(), 1u);
    EXPECT_EQ(net_->state().backlog.size(), 1u);
    EXPECT_EQ(bench_->queues[kReceive].used_flags(), 0) << "wants to hear of new buffers";
    post(1);
    bench_->notify(kReceive);
    EXPECT_EQ(bench_->queues[kReceive].take_used().size(), 1u);
    EXPECT_EQ(bench_->get(kBuffers + kBufferStep + 12, 60), Bytes(60, 2));
    EXPECT_EQ(bench_->queues[kReceive].used_flags(), 1) << "no need to notify";
}

TEST_F(NetTest, TheBacklogIsBounded) {
    receive(std::vector<Bytes>(Net::kBacklog + 3, Bytes(60)));
    EXPECT_EQ(net_->state().backlog.size(), Net::kBacklog);
    EXPECT_EQ(net_->state().dropped, 3u);
}

TEST_F(NetTest, PacketsThatDoNotFitAreDropped) {
    post(1, 100);
    receive({Bytes(200, 1), Bytes(60, 2)});
    EXPECT_EQ(net_->state().dropped, 1u);
    EXPECT_EQ(bench_->queues[kReceive].take_used().size(), 1u);
    EXPECT_EQ(bench_->get(kBuffers + 12, 60), Bytes(60, 2));
    receive({Bytes(Net::kFrameBytes + 1)});
    EXPECT_EQ(net_->state().dropped, 2u);
}

TEST_F(NetTest, AllPacketsOfANotificationAreOneOutput) {
    queue_packet(Bytes(60, 1));
    queue_packet(Bytes(1514, 2));
    bench_->notify(kTransmit);
    ASSERT_EQ(sink_.outputs.size(), 1u);
    EXPECT_EQ(sent(0), (std::vector<Bytes>{Bytes(60, 1), Bytes(1514, 2)}));
    EXPECT_EQ(bench_->queues[kTransmit].take_used().size(), 2u);
    EXPECT_EQ(bench_->take_interrupts(kTransmit), 1u);
    bench_->notify(kTransmit);
    EXPECT_EQ(sink_.outputs.size(), 1u) << "nothing to send, no output";
}

TEST_F(NetTest, ChecksumsAreLeftToTheHost) {
    NetHeader header{.flags = 0xff, .checksum_start = 34, .checksum_offset = 16, .buffers = 7};
    queue_packet(Bytes(60, 1), to_bytes(header));
    bench_->notify(kTransmit);
    EXPECT_EQ(sent(0)[0], Bytes(60, 1));
    EXPECT_EQ(headers_[0].flags, kNetNeedsChecksum) << "no more than a driver may say";
    EXPECT_EQ(headers_[0].buffers, 0);
    EXPECT_EQ(headers_[0].checksum_start, 34);
    EXPECT_EQ(headers_[0].checksum_offset, 16);
    start(0);
    queue_packet(Bytes(60, 1), to_bytes(header));
    bench_->notify(kTransmit);
    sent(0);
    EXPECT_EQ(headers_[0].flags, 0) << "this driver hasn't asked for it";
}

TEST_F(NetTest, ChecksumsAreCompletedForADriverThatNeedsThem) {
    Bytes frame(20);
    std::iota(frame.begin(), frame.end(), uint8_t{1});
    for (uint16_t start : {4, 16, 0xffff}) {
        post(1);
        receive_packets({joined(
            NetHeader{.flags = kNetNeedsChecksum, .checksum_start = start, .checksum_offset = 6}, frame)});
        uint64_t at = kBuffers + (posted_ - 1) * kBufferStep;
        EXPECT_EQ(bench_->get(at, 12), to_bytes(NetHeader{.buffers = 1}));
        Bytes result = bench_->get(at + 12, frame.size());
        if (start == 4) {
            // With its checksum in place of the partial sum, the whole sums to ones less what the field held.
            uint32_t before = 0;
            for (size_t i = 4; i < 20; i += 2) before += static_cast<uint32_t>(frame[i] << 8 | frame[i + 1]);
            before = (before & 0xffff) + (before >> 16);
            EXPECT_EQ(result[10] << 8 | result[11], static_cast<int>(~before & 0xffff));
            std::copy(frame.begin() + 10, frame.begin() + 12, result.begin() + 10);
        }
        EXPECT_EQ(result, frame) << "nothing else changes, above all nothing outside the frame";
    }
}

TEST_F(NetTest, ADriverSaysWhatItTakes) {
    for (auto [features, offloads] :
         {std::pair<uint64_t, bus::NetworkOffloads>{kPlain, {}},
          {kGuestChecksum, {.checksum = true}},
          {kGuestChecksum | kGuestTcp4, {.checksum = true, .tcp4 = true}},
          {kGuestChecksum | kGuestEcn, {.checksum = true}},
          {kGuestChecksum | kGuestTcp6 | kGuestEcn, {.checksum = true, .tcp6 = true, .ecn = true}},
          {kGuestTcp4, {}}}) {
        start(features);
        EXPECT_EQ(net_->unanswered().at(0).output.what, bus::Output({0, offloads}).what);
        bench_->start(features);
        ASSERT_EQ(sink_.outputs.size(), 1u);
        EXPECT_EQ(std::get<bus::NetworkOffloads>(sink_.outputs[0].what), offloads);
    }
    bench_->write(20, 1, 0);
    EXPECT_TRUE(net_->unanswered().empty()) << "no driver, nothing to tell";
}

TEST_F(NetTest, OffloadsAreOfferedOnlyWhereTheyAreOn) {
    EXPECT_EQ(bench_->offered_features() & 0xffff, 0xbba3u);
    start(kPlain, NetFeatures::kPlain);
    EXPECT_EQ(bench_->offered_features() & 0xffff, 0x21u);
}

TEST_F(NetTest, LargePacketsReachOnlyADriverThatTakesThem) {
    NetHeader header{.flags = kNetNeedsChecksum, .segmentation = kNetTcp4, .segment_size = 1448};
    post(1);
    receive_packets({joined(header, Bytes(60, 1))});
    EXPECT_EQ(net_->state().dropped, 1u);
    start(kGuestChecksum | kGuestTcp4);
    post(4, 70000);
    for (uint8_t segmentation : {kNetTcp4, kNetTcp6, uint8_t(kNetTcp4 | kNetEcn), uint8_t{3}}) {
        header.segmentation = segmentation;
        receive_packets({joined(header, Bytes(9000, 1))});
    }
    EXPECT_EQ(net_->state().dropped, 3u);
    EXPECT_EQ(bench_->queues[kReceive].take_used(), (std::vector<UsedElement>{{0, 9012}}));
    header.segmentation = kNetTcp4;
    header.buffers = 1;
    EXPECT_EQ(bench_->get(kBuffers, 12), to_bytes(header));
}

TEST_F(NetTest, APacketFillsSeveralBuffersOfADriverThatMergesThem) {
    start(kMerge);
    post(3, 1000);
    Bytes frame(2500);
    std::iota(frame.begin(), frame.end(), uint8_t{0});
    receive({frame, Bytes(2000, 9)});
    EXPECT_EQ(bench_->queues[kReceive].take_used(),
              (std::vector<UsedElement>{{0, 1000}, {1, 1000}, {2, 512}}));
    EXPECT_EQ(bench_->get(kBuffers, 12), to_bytes(NetHeader{.buffers = 3}));
    Bytes got = bench_->get(kBuffers + 12, 988);
    for (auto [buffer, size] : {std::pair<uint64_t, size_t>{1, 1000}, {2, 512}}) {
        Bytes part = bench_->get(kBuffers + buffer * kBufferStep, size);
        got.insert(got.end(), part.begin(), part.end());
    }
    EXPECT_EQ(got, frame);
    EXPECT_EQ(bench_->take_interrupts(kReceive), 1u);
    // The second waits until its buffers are all there.
    post(1, 1000);
    bench_->notify(kReceive);
    EXPECT_TRUE(bench_->queues[kReceive].take_used().empty());
    EXPECT_EQ(net_->state().backlog.size(), 1u);
    post(2, 1000);
    bench_->notify(kReceive);
    EXPECT_EQ(bench_->queues[kReceive].take_used().size(), 3u);
}

TEST_F(NetTest, APacketThatNoRingOfTheDriverHoldsIsDropped) {
    start(kMerge);
    post(16, 100);
    receive({Bytes(5000, 1), Bytes(60, 2)});
    EXPECT_EQ(net_->state().dropped, 1u);
    EXPECT_EQ(bench_->queues[kReceive].take_used().size(), 1u);
    EXPECT_EQ(bench_->get(kBuffers + 12, 60), Bytes(60, 2));
}

TEST_F(NetTest, OnlyPacketsThatTheDriverMaySendLeave) {
    start(kPlain | kHostTcp4);
    for (uint8_t segmentation : {kNetTcp4, kNetTcp6, uint8_t(kNetTcp4 | kNetEcn), uint8_t{3}, uint8_t{0x7f}})
        queue_packet(Bytes(3000, segmentation),
                     to_bytes(NetHeader{.flags = 1, .segmentation = segmentation, .segment_size = 1448}));
    bench_->notify(kTransmit);
    EXPECT_EQ(sent(0), (std::vector<Bytes>{Bytes(3000, kNetTcp4)}));
    EXPECT_EQ(headers_[0].segment_size, 1448);
    EXPECT_EQ(net_->state().dropped, 4u);
    EXPECT_EQ(bench_->queues[kTransmit].take_used().size(), 5u) << "all buffers come back";
}

TEST_F(NetTest, GarbageInTheLogIsDropped) {
    post(4);
    receive_packets({Bytes(5, 1), Bytes(12, 0), {}});
    EXPECT_EQ(net_->state().dropped, 3u);
    record::Entry damaged = entry(kDevice, record::NetworkReceive{{Bytes(80)}});
    damaged.payload.resize(40);
    bench_->transport.input(damaged);
    EXPECT_TRUE(bench_->queues[kReceive].take_used().empty());
}

TEST_F(NetTest, EmptyPacketsAreNotSent) {
    bench_->queues[kTransmit].add({{kBuffers, 12, false}});
    bench_->queues[kTransmit].add({{kBuffers, 4, false}});
    bench_->notify(kTransmit);
    EXPECT_TRUE(sink_.outputs.empty());
    EXPECT_EQ(bench_->queues[kTransmit].take_used().size(), 2u);
}

TEST_F(NetTest, GarbageStopsTheDeviceAfterWhatWasGood) {
    queue_packet(Bytes(60, 1));
    bench_->queues[kTransmit].offer(200);
    bench_->notify(kTransmit);
    EXPECT_EQ(sent(0).size(), 1u);
    EXPECT_EQ(bench_->status(), 0x4f);
    receive({Bytes(60)});
    EXPECT_EQ(net_->state().dropped, 1u);
}

TEST_F(NetTest, BacklogSurvivesSaveAndLoad) {
    receive({Bytes(60, 5)});
    Bytes state = saved(bench_->transport);
    ASSERT_TRUE(loads(bench_->transport, state));
    EXPECT_EQ(net_->state().backlog.size(), 1u);
    EXPECT_EQ(saved(bench_->transport), state);
}

}  // namespace
}  // namespace lockstep::devices::virtio
