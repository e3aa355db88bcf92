// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/pci/transport.h"

#include "virtio_driver.h"

namespace lockstep::devices::virtio {
namespace {

// Remembers what the transport told it.
class Probe : public Model {
  public:
    std::string_view name() const override { return "probe"; }
    Type type() const override { return Type::kEntropy; }
    uint32_t pci_class() const override { return 0x00ff00; }
    uint64_t features() const override { return 1 << 3; }
    std::vector<uint16_t> queue_sizes() const override { return {16, 32}; }
    Bytes config() const override { return {1, 2, 3, 4, 5}; }
    void notified(unsigned queue) override { notifications.push_back(queue); }
    void started() override { ++starts; }
    void reset() override { ++resets; }
    void input(const record::Entry&) override {}
    void save(ByteWriter&) const override {}
    Result<void> load(ByteReader&) override { return {}; }
    Transport& handle() { return transport(); }

    std::vector<unsigned> notifications;
    int starts = 0, resets = 0;
};

class TransportTest : public testing::Test {
  protected:
    TransportTest() : TransportTest(std::make_unique<Probe>()) {}
    explicit TransportTest(std::unique_ptr<Probe> probe) : probe_(*probe), bench_(std::move(probe)) {}

    Probe& probe_;
    VirtioBench bench_;
};

TEST_F(TransportTest, HeaderNamesTheDevice) {
    EXPECT_EQ(bench_.transport.read_config(0, 4), 0x10441af4u);
    EXPECT_EQ(bench_.transport.read_config(8, 4), 0x00ff0001u);
    EXPECT_TRUE(bench_.transport.read_config(6, 2) & 1 << 4);
    bench_.transport.write_config(0, 4, 0);
    EXPECT_EQ(bench_.transport.read_config(0, 4), 0x10441af4u);
}

TEST_F(TransportTest, BarTellsItsSizeAndMoves) {
    EXPECT_EQ(bench_.transport.memory_range().first, GuestPhys(0xc0000000));
    bench_.transport.write_config(0x10, 4, ~0u);
    EXPECT_EQ(bench_.transport.read_config(0x10, 4), ~static_cast<uint32_t>(kWindowSize - 1));
    bench_.transport.write_config(0x10, 4, 0xd0000000);
    EXPECT_EQ(bench_.transport.memory_range().first, GuestPhys(0xd0000000));
    bench_.transport.write_config(4, 2, 0);
    EXPECT_EQ(bench_.transport.memory_range().size, 0u);
}

// Capabilities are where and what the specification wants: type, BAR 0, offset and length of each structure.
TEST_F(TransportTest, CapabilitiesDescribeTheWindow) {
    std::vector<std::array<uint32_t, 3>> found;
    for (unsigned at = bench_.transport.read_config(0x34, 1); at;
         at = bench_.transport.read_config(at + 1, 1))
        if (bench_.transport.read_config(at, 1) == 9)
            found.push_back({bench_.transport.read_config(at + 3, 1), bench_.transport.read_config(at + 8, 4),
                             bench_.transport.read_config(at + 12, 4)});
    EXPECT_EQ(found, (std::vector<std::array<uint32_t, 3>>{
                         {1, 0, 56}, {3, 0x1000, 1}, {4, 0x2000, 5}, {2, 0x3000, 8}, {5, 0, 0}}));
    EXPECT_EQ(bench_.transport.read_config(bench_.find_capability(17) + 2, 2), 2u) << "three vectors";
}

TEST_F(TransportTest, AccessCapabilityReachesRegisters) {
    unsigned at = bench_.find_capability(9);
    while (bench_.transport.read_config(at + 3, 1) != 5) at = bench_.transport.read_config(at + 1, 1);
    bench_.transport.write_config(at + 8, 4, 0x2000);
    bench_.transport.write_config(at + 12, 4, 4);
    EXPECT_EQ(bench_.transport.read_config(at + 16, 4), 0x04030201u);
    bench_.transport.write_config(at + 8, 4, 20);
    bench_.transport.write_config(at + 12, 4, 1);
    bench_.transport.write_config(at + 16, 1, 3);
    EXPECT_EQ(bench_.status(), 3);
    bench_.transport.write_config(at + 8, 4, 0xffffffff);
    EXPECT_EQ(bench_.transport.read_config(at + 16, 1), ~0u);
}

TEST_F(TransportTest, FeaturesAreNegotiated) {
    EXPECT_EQ(bench_.offered_features(),
              1ull << 3 | kFeatureIndirect | kFeatureEventIndex | kFeatureVersion1);
    bench_.start(1 << 3);
    EXPECT_TRUE(probe_.handle().negotiated(1 << 3));
    EXPECT_FALSE(probe_.handle().negotiated(kFeatureEventIndex));
    EXPECT_EQ(probe_.starts, 1);
    EXPECT_TRUE(probe_.handle().running());
}

TEST_F(TransportTest, UnknownFeaturesAreRefused) {
    bench_.write(20, 1, 3);
    bench_.write(8, 4, 1);
    bench_.write(12, 4, 1);
    bench_.write(8, 4, 0);
    bench_.write(12, 4, 1 << 4);
    bench_.write(20, 1, 0xb);
    EXPECT_EQ(bench_.status(), 3);
    bench_.write(20, 1, 0xf);
    EXPECT_FALSE(probe_.handle().running());
}

TEST_F(TransportTest, OldDriversAreRefused) {
    bench_.write(20, 1, 0xb);
    EXPECT_EQ(bench_.status(), 3);
}

TEST_F(TransportTest, FeaturesAreFixedOnceAccepted) {
    bench_.start(0);
    bench_.write(8, 4, 0);
    bench_.write(12, 4, 1 << 3);
    EXPECT_FALSE(probe_.handle().negotiated(1 << 3));
}

TEST_F(TransportTest, DeviceConfigurationReads) {
    EXPECT_EQ(bench_.read(0x2000, 4), 0x04030201u);
    EXPECT_EQ(bench_.read(0x2004, 1), 5u);
    EXPECT_EQ(bench_.read(0x2003, 4), 0x0504u);
    EXPECT_EQ(bench_.read(0x2ffc, 4), 0u);
}

TEST_F(TransportTest, QueueRegisters) {
    EXPECT_EQ(bench_.read(18, 2), 2u);
    bench_.write(22, 2, 1);
    EXPECT_EQ(bench_.read(24, 2), 32u);
    bench_.write(24, 2, 33);
    bench_.write(24, 2, 12);
    bench_.write(24, 2, 0);
    EXPECT_EQ(bench_.read(24, 2), 32u) << "no sizes but powers of two within the limit";
    bench_.write(24, 2, 8);
    EXPECT_EQ(bench_.read(24, 2), 8u);
    bench_.write(32, 4, 0x11111111);
    bench_.write(36, 4, 0x22222222);
    EXPECT_EQ(bench_.read(32, 4) & 0xffffffff, 0x11111111u);
    EXPECT_EQ(bench_.read(36, 4) & 0xffffffff, 0x22222222u);
    bench_.write(26, 2, 3);
    EXPECT_EQ(bench_.read(26, 2), 0xffffu) << "there are vectors 0 to 2";
    bench_.write(22, 2, 2);
    EXPECT_EQ(bench_.read(24, 2), 0u) << "no such queue";
}

TEST_F(TransportTest, NotificationsReachARunningDevice) {
    bench_.notify(0);
    EXPECT_TRUE(probe_.notifications.empty());
    bench_.start(0);
    bench_.notify(1);
    bench_.notify(0);
    bench_.notify(2);
    EXPECT_EQ(probe_.notifications, (std::vector<unsigned>{1, 0}));
}

TEST_F(TransportTest, QueueInterruptsByMessage) {
    bench_.start(0);
    probe_.handle().queue(1).push(0, 0);
    probe_.handle().used(1);
    EXPECT_EQ(bench_.messages.sent, (std::vector<Message>{{0xfee00000, 0x42}}));
    EXPECT_FALSE(bench_.line.level);
}

TEST_F(TransportTest, MaskedVectorsArePending) {
    bench_.start(0);
    bench_.write(0x4000 + 16 * 2 + 12, 4, 1);
    probe_.handle().queue(1).push(0, 0);
    probe_.handle().used(1);
    EXPECT_TRUE(bench_.messages.sent.empty());
    EXPECT_EQ(bench_.read(0x5000, 8), 4u);
    bench_.write(0x4000 + 16 * 2 + 12, 4, 0);
    EXPECT_EQ(bench_.messages.sent.size(), 1u);
    EXPECT_EQ(bench_.read(0x5000, 8), 0u);
    unsigned capability = bench_.find_capability(17);
    bench_.transport.write_config(capability + 2, 2, 0xc000);
    probe_.handle().queue(1).push(0, 0);
    probe_.handle().used(1);
    EXPECT_EQ(bench_.messages.sent.size(), 1u);
    bench_.transport.write_config(capability + 2, 2, 0x8000);
    EXPECT_EQ(bench_.messages.sent.size(), 2u);
}

TEST_F(TransportTest, InterruptLineWithoutMessages) {
    bench_.start(0);
    bench_.transport.write_config(bench_.find_capability(17) + 2, 2, 0);
    probe_.handle().queue(0).push(0, 0);
    probe_.handle().used(0);
    EXPECT_TRUE(bench_.line.level);
    bench_.transport.write_config(4, 2, 0x402);
    EXPECT_FALSE(bench_.line.level) << "switched off in the command register";
    bench_.transport.write_config(4, 2, 0x2);
    EXPECT_EQ(bench_.read(0x1000, 1), 1u);
    EXPECT_FALSE(bench_.line.level);
    EXPECT_EQ(bench_.read(0x1000, 1), 0u);
}

TEST_F(TransportTest, FailureAsksForAReset) {
    bench_.start(0);
    probe_.handle().fail();
    EXPECT_EQ(bench_.status(), 0x4f);
    EXPECT_EQ(bench_.messages.sent, (std::vector<Message>{{0xfee00000, 0x40}}));
    EXPECT_FALSE(probe_.handle().running());
    bench_.notify(0);
    EXPECT_TRUE(probe_.notifications.empty());
    bench_.write(20, 1, 0xf);
    EXPECT_EQ(bench_.status(), 0x4f) << "only a reset helps";
    int resets = probe_.resets;
    bench_.start(0);
    EXPECT_EQ(probe_.resets, resets + 1);
    EXPECT_TRUE(probe_.handle().running());
}

TEST_F(TransportTest, DamagedStateIsRefused) {
    bench_.start(0);
    Bytes state = saved(bench_.transport);
    for (size_t size = 0; size < state.size(); size += 7) {
        ByteReader in(ByteSpan(state).first(size));
        EXPECT_FALSE(bench_.transport.load(in).ok());
    }
}

}  // namespace
}  // namespace lockstep::devices::virtio
