// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/queue/queue.h"

#include "kit.h"
#include "virtio_driver.h"

namespace lockstep::devices::virtio {
namespace {

constexpr uint64_t kRings = 0x10000, kData = 0x100000;
constexpr uint16_t kNextFlag = 1, kIndirectFlag = 4;

class QueueTest : public testing::Test {
  protected:
    QueueTest() {
        QueueState& state = queue_.state();
        state.size = 8;
        state.descriptors = driver_.descriptors;
        state.driver = driver_.driver;
        state.device = driver_.device;
        state.enabled = true;
    }
    PopResult pop() { return queue_.pop(chain_); }

    std::unique_ptr<memory::GuestMemory> memory_ = make_memory();
    DriverQueue driver_{*memory_, kRings, 8};
    Queue queue_{*memory_, 16};
    Chain chain_;
};

TEST_F(QueueTest, EmptyAndDisabledQueues) {
    EXPECT_EQ(pop(), PopResult::kEmpty);
    driver_.add({{kData, 16, false}});
    queue_.state().enabled = false;
    EXPECT_EQ(pop(), PopResult::kEmpty);
}

TEST_F(QueueTest, ChainsComeInOrderWithTheirSegments) {
    driver_.add({{kData, 16, false}, {kData + 0x1000, 100, true}, {kData + 0x2000, 1, true}});
    uint16_t second = driver_.add({{kData, 5, true}});
    ASSERT_EQ(pop(), PopResult::kChain);
    EXPECT_EQ(chain_.head, 0);
    EXPECT_EQ(chain_.readable.size(), 1u);
    EXPECT_EQ(total_size(chain_.readable), 16u);
    EXPECT_EQ(total_size(chain_.writable), 101u);
    ASSERT_EQ(pop(), PopResult::kChain);
    EXPECT_EQ(chain_.head, second);
    EXPECT_EQ(pop(), PopResult::kEmpty);
}

TEST_F(QueueTest, UnpopGivesBack) {
    uint16_t head = driver_.add({{kData, 16, false}});
    ASSERT_EQ(pop(), PopResult::kChain);
    queue_.unpop();
    ASSERT_EQ(pop(), PopResult::kChain);
    EXPECT_EQ(chain_.head, head);
}

TEST_F(QueueTest, UsedElementsReachTheDriver) {
    uint16_t head = driver_.add({{kData, 16, true}});
    ASSERT_EQ(pop(), PopResult::kChain);
    queue_.push(head, 12);
    EXPECT_EQ(driver_.take_used(), (std::vector<UsedElement>{{head, 12}}));
}

TEST_F(QueueTest, RunsRoundItsRingsManyTimes) {
    for (int i = 0; i < 70000; ++i) {
        uint16_t head = driver_.add({{kData, 4, true}});
        ASSERT_EQ(pop(), PopResult::kChain);
        queue_.push(chain_.head, static_cast<uint32_t>(i));
        ASSERT_EQ(driver_.take_used(), (std::vector<UsedElement>{{head, static_cast<uint32_t>(i)}}));
    }
}

TEST_F(QueueTest, IndirectTables) {
    driver_.put_descriptor_at(kData, kData + 0x1000, 16, kNextFlag, 1);
    driver_.put_descriptor_at(kData + 16, kData + 0x2000, 32, 2, 0);
    driver_.put_descriptor(0, kData, 32, kIndirectFlag, 0);
    driver_.offer(0);
    ASSERT_EQ(pop(), PopResult::kChain);
    EXPECT_EQ(total_size(chain_.readable), 16u);
    EXPECT_EQ(total_size(chain_.writable), 32u);
}

// Each of these is something that a driver must not do; the queue is broken from then on.
struct Garbage {
    const char* name;
    void (*make)(DriverQueue& driver);
};

void self_loop(DriverQueue& d) {
    d.put_descriptor(0, kData, 16, kNextFlag, 0);
    d.offer(0);
}
void long_loop(DriverQueue& d) {
    for (uint16_t i = 0; i < 8; ++i)
        d.put_descriptor(i, kData, 16, kNextFlag, static_cast<uint16_t>((i + 1) % 8));
    d.offer(3);
}
void head_outside(DriverQueue& d) { d.offer(8); }
void next_outside(DriverQueue& d) {
    d.put_descriptor(0, kData, 16, kNextFlag, 8);
    d.offer(0);
}
void not_ram(DriverQueue& d) {
    d.put_descriptor(0, 0xfee00000, 16, 0, 0);
    d.offer(0);
}
void past_the_end(DriverQueue& d) {
    d.put_descriptor(0, (4 << 20) - 8, 16, 2, 0);
    d.offer(0);
}
void wraps(DriverQueue& d) {
    d.put_descriptor(0, ~uint64_t{0} - 7, 16, 2, 0);
    d.offer(0);
}
void readable_after_writable(DriverQueue& d) {
    d.put_descriptor(0, kData, 16, kNextFlag | 2, 1);
    d.put_descriptor(1, kData, 16, 0, 0);
    d.offer(0);
}
void index_jumps(DriverQueue& d) {
    for (int i = 0; i < 9; ++i) d.offer(0);
}
void indirect_odd_size(DriverQueue& d) {
    d.put_descriptor(0, kData, 17, kIndirectFlag, 0);
    d.offer(0);
}
void indirect_empty(DriverQueue& d) {
    d.put_descriptor(0, kData, 0, kIndirectFlag, 0);
    d.offer(0);
}
void indirect_huge(DriverQueue& d) {
    d.put_descriptor(0, kData, 0xfffffff0, kIndirectFlag, 0);
    d.offer(0);
}
void indirect_with_next(DriverQueue& d) {
    d.put_descriptor_at(kData, kData, 16, 0, 0);
    d.put_descriptor(0, kData, 16, kIndirectFlag | kNextFlag, 1);
    d.offer(0);
}
void indirect_in_indirect(DriverQueue& d) {
    d.put_descriptor_at(kData, kData, 16, kIndirectFlag, 0);
    d.put_descriptor(0, kData, 16, kIndirectFlag, 0);
    d.offer(0);
}
void indirect_loop(DriverQueue& d) {
    d.put_descriptor_at(kData, kData, 16, kNextFlag, 1);
    d.put_descriptor_at(kData + 16, kData, 16, kNextFlag, 0);
    d.put_descriptor(0, kData, 32, kIndirectFlag, 0);
    d.offer(0);
}
void indirect_next_outside(DriverQueue& d) {
    d.put_descriptor_at(kData, kData, 16, kNextFlag, 2);
    d.put_descriptor(0, kData, 32, kIndirectFlag, 0);
    d.offer(0);
}
void indirect_not_ram(DriverQueue& d) {
    d.put_descriptor(0, 0xfee00000, 32, kIndirectFlag, 0);
    d.offer(0);
}

class GarbageTest : public QueueTest, public testing::WithParamInterface<Garbage> {};

TEST_P(GarbageTest, BreaksTheQueue) {
    GetParam().make(driver_);
    EXPECT_EQ(pop(), PopResult::kBroken);
    EXPECT_EQ(pop(), PopResult::kBroken);
    queue_.push(0, 1);
    EXPECT_TRUE(driver_.take_used().empty());
    EXPECT_FALSE(queue_.take_interrupt());
}

INSTANTIATE_TEST_SUITE_P(
    All, GarbageTest,
    testing::Values(
        Garbage{"SelfLoop", self_loop}, Garbage{"LongLoop", long_loop}, Garbage{"HeadOutside", head_outside},
        Garbage{"NextOutside", next_outside}, Garbage{"NotRam", not_ram}, Garbage{"PastTheEnd", past_the_end},
        Garbage{"Wraps", wraps}, Garbage{"ReadableAfterWritable", readable_after_writable},
        Garbage{"IndexJumps", index_jumps}, Garbage{"IndirectOddSize", indirect_odd_size},
        Garbage{"IndirectEmpty", indirect_empty}, Garbage{"IndirectHuge", indirect_huge},
        Garbage{"IndirectWithNext", indirect_with_next}, Garbage{"IndirectInIndirect", indirect_in_indirect},
        Garbage{"IndirectLoop", indirect_loop}, Garbage{"IndirectNextOutside", indirect_next_outside},
        Garbage{"IndirectNotRam", indirect_not_ram}),
    [](const auto& instance) { return std::string(instance.param.name); });

TEST_F(QueueTest, RingsOutsideRamBreakTheQueue) {
    queue_.state().driver = 0xfee00000;
    EXPECT_EQ(pop(), PopResult::kBroken);
}

TEST_F(QueueTest, UsedRingOutsideRamIsHarmless) {
    queue_.state().device = ~uint64_t{0} - 2;
    driver_.add({{kData, 16, true}});
    ASSERT_EQ(pop(), PopResult::kChain);
    queue_.push(0, 1);
    queue_.want_notification(true);
    queue_.take_interrupt();
}

TEST_F(QueueTest, InterruptsAsTheFlagSays) {
    EXPECT_FALSE(queue_.take_interrupt()) << "nothing was pushed";
    queue_.push(0, 0);
    EXPECT_TRUE(queue_.take_interrupt());
    EXPECT_FALSE(queue_.take_interrupt());
    driver_.set_no_interrupt(true);
    queue_.push(0, 0);
    EXPECT_FALSE(queue_.take_interrupt());
}

TEST_F(QueueTest, InterruptsAsTheEventIndexSays) {
    queue_.use_event_index(true);
    driver_.set_used_event(2);  // when the third is pushed
    queue_.push(0, 0);
    EXPECT_FALSE(queue_.take_interrupt());
    queue_.push(0, 0);
    EXPECT_FALSE(queue_.take_interrupt());
    queue_.push(0, 0);
    queue_.push(0, 0);
    EXPECT_TRUE(queue_.take_interrupt());
    queue_.push(0, 0);
    EXPECT_FALSE(queue_.take_interrupt()) << "the event is past";
}

TEST_F(QueueTest, NotificationsAsTheDeviceWants) {
    queue_.want_notification(false);
    EXPECT_EQ(driver_.used_flags(), 1);
    queue_.want_notification(true);
    EXPECT_EQ(driver_.used_flags(), 0);
    queue_.use_event_index(true);
    driver_.add({{kData, 16, true}});
    ASSERT_EQ(pop(), PopResult::kChain);
    queue_.want_notification(true);
    EXPECT_EQ(driver_.available_event(), 1);
}

TEST(Segments, GatherAndScatterCrossSegments) {
    auto memory = make_memory();
    std::vector<Segment> segments = {{GuestPhys(0x1000), 3}, {GuestPhys(0x2000), 0}, {GuestPhys(0x3000), 4}};
    Bytes bytes = {1, 2, 3, 4, 5};
    EXPECT_EQ(scatter(*memory, segments, 1, bytes), 5u);
    EXPECT_EQ(gather(*memory, segments, 0, 100), (Bytes{0, 1, 2, 3, 4, 5, 0}));
    EXPECT_EQ(gather(*memory, segments, 2, 3), (Bytes{2, 3, 4}));
    EXPECT_EQ(gather(*memory, segments, 7, 1), Bytes{});
    EXPECT_EQ(scatter(*memory, segments, 5, bytes), 2u) << "what fits";
    EXPECT_EQ(scatter(*memory, segments, 9, bytes), 0u);
}

}  // namespace
}  // namespace lockstep::devices::virtio
