// SPDX-License-Identifier: Apache-2.0
// A driver that lets go of its device resets it, whatever is on its way, and another driver starts it anew.
#include "devices/virtio/block/block.h"
#include "devices/virtio/console/console.h"
#include "devices/virtio/net/net.h"
#include "devices/virtio/rng/rng.h"
#include "virtio_driver.h"

namespace lockstep::devices::virtio {
namespace {

constexpr uint64_t kBuffer = 0x100000, kBufferSize = 0x1000;
constexpr uint16_t kNumber = 7;

class ResetTest : public testing::Test {
  protected:
    template <typename Model, typename... Args>
    void make(Args&&... args) {
        bench_ = std::make_unique<VirtioBench>(std::make_unique<Model>(std::forward<Args>(args)...));
        requester_ = dynamic_cast<Requester*>(&bench_->transport.model());
        bench_->start(0);
    }
    /// What the driver does when it is unbound; its buffers are somebody else's from then on.
    void let_go() {
        bench_->write(20, 1, 0);
        ASSERT_EQ(bench_->status(), 0);
        bench_->put(kBuffer, Bytes(kBufferSize, 0xee));
        bench_->messages.sent.clear();
    }
    template <typename Payload>
    void deliver(const Payload& payload) {
        bench_->transport.input(entry(kNumber, payload));
    }
    void expect_untouched() {
        EXPECT_EQ(bench_->get(kBuffer, kBufferSize), Bytes(kBufferSize, 0xee));
        EXPECT_TRUE(bench_->messages.sent.empty());
        EXPECT_FALSE(bench_->line.level);
        for (DriverQueue& queue : bench_->queues) EXPECT_TRUE(queue.take_used().empty());
    }
    void expect_nothing_waits() {
        EXPECT_EQ(bench_->status(), 0xf);
        EXPECT_TRUE(requester_->unanswered().empty());
    }

    TestSink sink_;
    RequestNumbers numbers_;
    std::unique_ptr<VirtioBench> bench_;
    Requester* requester_ = nullptr;
};

TEST_F(ResetTest, EntropyOnItsWay) {
    make<Rng>(kNumber, numbers_, sink_);
    for (uint64_t round = 0; round < 3; ++round) {
        bench_->queues[0].add({{kBuffer, 64, true}});
        bench_->notify(0);
        uint64_t number = numbers_.peek() - 1;
        ASSERT_EQ(requester_->unanswered().size(), 1u);
        let_go();
        deliver(record::RandomBytes{number, Bytes(64, 0x42)});
        expect_untouched();
        bench_->start(0);
        expect_nothing_waits();
        // The new driver's request is answered by its own number alone.
        bench_->queues[0].add({{kBuffer + 0x100, 64, true}});
        bench_->notify(0);
        deliver(record::RandomBytes{number, Bytes(64, 0x42)});
        expect_untouched();
        deliver(record::RandomBytes{numbers_.peek() - 1, Bytes(64, 0x43)});
        EXPECT_EQ(bench_->get(kBuffer + 0x100, 64), Bytes(64, 0x43));
        EXPECT_EQ(bench_->take_interrupts(0), 1u);
        EXPECT_EQ(bench_->queues[0].take_used().size(), 1u);
    }
}

TEST_F(ResetTest, DiskRequestsOnTheirWay) {
    make<Block>(kNumber, "disk0", BlockConfig{1 << 20, false, "s"}, numbers_, sink_);
    auto request = [this](uint32_t type) {
        Bytes header;
        ByteWriter out(header);
        out.fixed(type);
        out.fixed(uint32_t{0});
        out.fixed(uint64_t{0});
        bench_->put(0x200000, header);
        bool reads = type == 0;
        bench_->queues[0].add({{0x200000, 16, false}, {kBuffer, 512, reads}, {kBuffer + 512, 1, true}});
        bench_->notify(0);
        return numbers_.peek() - 1;
    };
    for (uint32_t type : {0u, 1u}) {
        uint64_t number = request(type);
        ASSERT_EQ(requester_->unanswered().size(), 1u);
        let_go();
        deliver(
            record::DiskCompletion{number, record::DiskStatus::kOk, type == 0 ? Bytes(512, 0x42) : Bytes()});
        expect_untouched();
        bench_->start(0);
        expect_nothing_waits();
        uint64_t second = request(0);
        deliver(record::DiskCompletion{number, record::DiskStatus::kOk, Bytes(512, 0x42)});
        expect_untouched();
        deliver(record::DiskCompletion{second, record::DiskStatus::kOk, Bytes(512, 0x43)});
        EXPECT_EQ(bench_->get(kBuffer, 512), Bytes(512, 0x43));
        EXPECT_EQ(bench_->take_interrupts(0), 1u);
        bench_->queues[0].take_used();
    }
}

TEST_F(ResetTest, PacketsThatWaitForBuffers) {
    make<Net>(kNumber, "network0", std::array<uint8_t, 6>{2}, NetFeatures::kPlain, sink_);
    auto packet = [](uint8_t filling) {
        Bytes bytes(kNetHeaderSize + 60, filling);
        std::fill_n(bytes.begin(), kNetHeaderSize, 0);
        return record::NetworkReceive{{bytes}};
    };
    deliver(packet(0x42));
    let_go();
    deliver(packet(0x42));
    expect_untouched();
    bench_->start(0);
    bench_->queues[0].add({{kBuffer, 1526, true}});
    bench_->notify(0);
    EXPECT_TRUE(bench_->queues[0].take_used().empty()) << "what came before is gone";
    deliver(packet(0x43));
    EXPECT_EQ(bench_->get(kBuffer + kNetHeaderSize, 60), Bytes(60, 0x43));
    EXPECT_EQ(bench_->take_interrupts(0), 1u);
}

TEST_F(ResetTest, InputThatWaitsForBuffers) {
    make<Console>(kNumber, sink_);
    deliver(record::ConsoleInput{{'x', 'y'}});
    let_go();
    expect_untouched();
    bench_->start(0);
    deliver(record::ConsoleInput{{'z'}});
    bench_->queues[0].add({{kBuffer, 16, true}});
    bench_->notify(0);
    EXPECT_EQ(bench_->queues[0].take_used(), (std::vector<UsedElement>{{0, 1}}));
    EXPECT_EQ(bench_->get(kBuffer, 1), Bytes{'z'});
}

}  // namespace
}  // namespace lockstep::devices::virtio
