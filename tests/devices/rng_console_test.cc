// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/console/console.h"
#include "devices/virtio/rng/rng.h"
#include "virtio_driver.h"

namespace lockstep::devices::virtio {
namespace {

constexpr uint64_t kBuffer = 0x100000;

class RngTest : public testing::Test {
  protected:
    RngTest() {
        auto model = std::make_unique<Rng>(3, numbers_, sink_);
        rng_ = model.get();
        bench_ = std::make_unique<VirtioBench>(std::move(model));
        bench_->start(0);
    }
    bus::RandomRequest sent(size_t index) {
        return std::get<bus::RandomRequest>(sink_.outputs.at(index).what);
    }
    void answer(uint64_t number, Bytes bytes) {
        bench_->transport.input(entry(3, record::RandomBytes{number, std::move(bytes)}));
    }

    TestSink sink_;
    RequestNumbers numbers_;
    Rng* rng_ = nullptr;
    std::unique_ptr<VirtioBench> bench_;
};

TEST_F(RngTest, BytesComeFromTheLog) {
    uint16_t head = bench_->queues[0].add({{kBuffer, 64, true}});
    bench_->notify(0);
    ASSERT_EQ(sink_.outputs.size(), 1u);
    EXPECT_EQ(sent(0).size, 64u);
    EXPECT_EQ(rng_->unanswered().size(), 1u);
    EXPECT_TRUE(bench_->queues[0].take_used().empty());
    answer(sent(0).number, Bytes(64, 0x42));
    EXPECT_EQ(bench_->get(kBuffer, 64), Bytes(64, 0x42));
    EXPECT_EQ(bench_->queues[0].take_used(), (std::vector<UsedElement>{{head, 64}}));
    EXPECT_EQ(bench_->take_interrupts(0), 1u);
    EXPECT_TRUE(rng_->unanswered().empty());
}

TEST_F(RngTest, FewerOrMoreBytesThanAskedFor) {
    bench_->queues[0].add({{kBuffer, 64, true}});
    bench_->queues[0].add({{kBuffer + 0x1000, 4, true}});
    bench_->notify(0);
    answer(sent(0).number, Bytes(10, 1));
    answer(sent(1).number, Bytes(10, 2));
    auto used = bench_->queues[0].take_used();
    EXPECT_EQ(used[0].written, 10u);
    EXPECT_EQ(used[1].written, 4u);
    EXPECT_EQ(bench_->get(kBuffer + 0x1000, 6), (Bytes{2, 2, 2, 2, 0, 0}));
}

TEST_F(RngTest, RequestsAreBounded) {
    bench_->queues[0].add({{kBuffer, 1 << 20, true}});
    bench_->notify(0);
    EXPECT_EQ(sent(0).size, Rng::kRequestBytes);
}

TEST_F(RngTest, NothingToWriteIntoStopsTheDevice) {
    bench_->queues[0].add({{kBuffer, 64, false}});
    bench_->notify(0);
    EXPECT_EQ(bench_->status(), 0x4f);
}

TEST_F(RngTest, UnknownAnswersAreIgnored) {
    answer(77, Bytes(4));
    EXPECT_TRUE(bench_->queues[0].take_used().empty());
}

class ConsoleTest : public testing::Test {
  protected:
    ConsoleTest() {
        bench_ = std::make_unique<VirtioBench>(std::make_unique<Console>(2, sink_));
        bench_->start(0);
    }
    void type(Bytes bytes) { bench_->transport.input(entry(2, record::ConsoleInput{std::move(bytes)})); }

    TestSink sink_;
    std::unique_ptr<VirtioBench> bench_;
};

TEST_F(ConsoleTest, ANotificationIsOneOutput) {
    bench_->put(kBuffer, Bytes{'a', 'b', 'c'});
    bench_->queues[1].add({{kBuffer, 2, false}});
    bench_->queues[1].add({{kBuffer + 2, 1, false}});
    bench_->notify(1);
    ASSERT_EQ(sink_.outputs.size(), 1u);
    EXPECT_EQ(sink_.outputs[0], (bus::Output{2, bus::ConsoleBytes{{'a', 'b', 'c'}}}));
    EXPECT_EQ(bench_->queues[1].take_used().size(), 2u);
}

TEST_F(ConsoleTest, InputWaitsForBuffers) {
    type({'x', 'y', 'z'});
    bench_->queues[0].add({{kBuffer, 2, true}});
    bench_->notify(0);
    EXPECT_EQ(bench_->get(kBuffer, 2), (Bytes{'x', 'y'}));
    bench_->queues[0].add({{kBuffer + 16, 8, true}});
    bench_->notify(0);
    auto used = bench_->queues[0].take_used();
    ASSERT_EQ(used.size(), 2u);
    EXPECT_EQ(used[1].written, 1u);
    EXPECT_EQ(bench_->get(kBuffer + 16, 1), Bytes{'z'});
}

TEST_F(ConsoleTest, InputIsBounded) {
    type(Bytes(Console::kWaitingLimit + 100, 'x'));
    bench_->queues[0].add({{kBuffer, 0x10000, true}});
    bench_->notify(0);
    EXPECT_EQ(bench_->queues[0].take_used()[0].written, Console::kWaitingLimit);
}

TEST_F(ConsoleTest, GarbageStopsTheDevice) {
    bench_->queues[1].offer(99);
    bench_->notify(1);
    EXPECT_EQ(bench_->status(), 0x4f);
}

}  // namespace
}  // namespace lockstep::devices::virtio
