#include "devices/virtio/net/net.h"

#include "virtio_driver.h"

namespace lockstep::devices::virtio {
namespace {

constexpr uint16_t kDevice = 32;
constexpr unsigned kReceive = 0, kTransmit = 1;
constexpr uint64_t kBuffers = 0x100000, kBufferStep = 0x1000;

class NetTest : public testing::Test {
  protected:
    NetTest() {
        auto model =
            std::make_unique<Net>(kDevice, "network0", std::array<uint8_t, 6>{2, 0, 0, 0, 0, 9}, sink_);
        net_ = model.get();
        bench_ = std::make_unique<VirtioBench>(std::move(model));
        bench_->start(1);
    }
    void post(unsigned count, uint32_t size = 1526) {
        for (unsigned i = 0; i < count; ++i)
            bench_->queues[kReceive].add({{kBuffers + posted_++ % 64 * kBufferStep, size, true}});
    }
    void receive(std::vector<Bytes> packets) {
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
    std::vector<Bytes> sent(size_t index) {
        EXPECT_EQ(sink_.outputs.at(index).kind, bus::OutputKind::kPackets);
        auto decoded =
            record::decode_fields<record::NetworkReceive>(sink_.outputs.at(index).payload, "packets");
        EXPECT_TRUE(decoded.ok());
        return decoded.take().packets;
    }

    TestSink sink_;
    Net* net_ = nullptr;
    std::unique_ptr<VirtioBench> bench_;
    unsigned posted_ = 0, offered_ = 0;
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
    receive({Bytes(Net::kPacketBytes + 1)});
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

TEST_F(NetTest, ChecksumsAreCompleted) {
    Bytes packet(20, 0);
    for (size_t i = 0; i < packet.size(); ++i) packet[i] = static_cast<uint8_t>(i * 7);
    Bytes header(12);
    header[0] = 1;
    header[6] = 4;  // sum from byte 4 on
    header[8] = 6;  // into bytes 10 and 11
    queue_packet(packet, header);
    bench_->notify(kTransmit);
    Bytes result = sent(0)[0];
    // With its checksum in place of the partial sum, the whole sums to ones less what the field held.
    uint32_t before = 0, after = 0;
    for (size_t i = 4; i < 20; i += 2) {
        before += static_cast<uint32_t>(packet[i] << 8 | packet[i + 1]);
        after += i == 10 ? 0 : static_cast<uint32_t>(packet[i] << 8 | packet[i + 1]);
    }
    before = (before & 0xffff) + (before >> 16);
    EXPECT_EQ(result[10] << 8 | result[11], static_cast<int>(~before & 0xffff));
    EXPECT_EQ(Bytes(result.begin() + 12, result.end()), Bytes(packet.begin() + 12, packet.end()));
    EXPECT_NE(after, before);
}

TEST_F(NetTest, ChecksumsOutsideThePacketAreLeftAlone) {
    Bytes header(12);
    header[0] = 1;
    header[6] = 0xff;
    header[7] = 0xff;
    queue_packet(Bytes(60, 1), header);
    bench_->notify(kTransmit);
    EXPECT_EQ(sent(0)[0], Bytes(60, 1));
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
