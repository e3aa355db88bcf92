// SPDX-License-Identifier: Apache-2.0
#include "devices/ioapic/ioapic.h"

#include "kit.h"

namespace lockstep::devices {
namespace {

class IoapicTest : public testing::Test {
  protected:
    void write(uint32_t index, uint32_t value) {
        ioapic_.write_register(0, 4, index);
        ioapic_.write_register(0x10, 4, value);
    }
    uint32_t read(uint32_t index) {
        ioapic_.write_register(0, 4, index);
        return static_cast<uint32_t>(ioapic_.read_register(0x10, 4));
    }
    void program(unsigned pin, uint32_t low, uint32_t high = 0) {
        write(0x11 + 2 * pin, high);
        write(0x10 + 2 * pin, low);
    }

    TestMessages messages_;
    Ioapic ioapic_{messages_};
};

constexpr uint32_t kLevel = 1 << 15, kMasked = 1 << 16, kRemoteIrr = 1 << 14;

TEST_F(IoapicTest, SaysWhatItIs) {
    EXPECT_EQ(read(1), 0x20u | 23 << 16);
    EXPECT_EQ(read(0x10), kMasked);
    EXPECT_EQ(read(0x10 + 2 * 24), 0u);
}

TEST_F(IoapicTest, EdgeSendsOnceForEachRise) {
    bus::InterruptLine& line = ioapic_.line(4);
    program(4, 0x31);
    line.set_level(true);
    line.set_level(true);
    line.set_level(false);
    line.set_level(true);
    EXPECT_EQ(messages_.sent, (std::vector<Message>{{0xfee00000, 0x31}, {0xfee00000, 0x31}}));
}

TEST_F(IoapicTest, MaskedEdgeIsLost) {
    bus::InterruptLine& line = ioapic_.line(4);
    line.set_level(true);
    program(4, 0x31);
    EXPECT_TRUE(messages_.sent.empty());
}

TEST_F(IoapicTest, LevelWaitsForItsEnd) {
    bus::InterruptLine& line = ioapic_.line(9);
    program(9, 0x50 | kLevel, 0x03000000);
    line.set_level(true);
    ASSERT_EQ(messages_.sent.size(), 1u);
    EXPECT_EQ(messages_.sent[0], (Message{0xfee03000, 0xc050}));
    EXPECT_TRUE(read(0x10 + 18) & kRemoteIrr);
    line.set_level(false);
    line.set_level(true);
    EXPECT_EQ(messages_.sent.size(), 1u);
    ioapic_.end_of_interrupt(0x51);
    EXPECT_EQ(messages_.sent.size(), 1u);
    ioapic_.end_of_interrupt(0x50);
    EXPECT_EQ(messages_.sent.size(), 2u);
    line.set_level(false);
    ioapic_.end_of_interrupt(0x50);
    EXPECT_EQ(messages_.sent.size(), 2u);
    EXPECT_FALSE(read(0x10 + 18) & kRemoteIrr);
}

TEST_F(IoapicTest, UnmaskingAnAssertedLevelPinSends) {
    bus::InterruptLine& line = ioapic_.line(9);
    line.set_level(true);
    program(9, 0x50 | kLevel | kMasked);
    EXPECT_TRUE(messages_.sent.empty());
    program(9, 0x50 | kLevel);
    EXPECT_EQ(messages_.sent.size(), 1u);
}

TEST_F(IoapicTest, LinesOfOnePinAreJoined) {
    bus::InterruptLine &a = ioapic_.line(16), &b = ioapic_.line(16);
    program(16, 0x60 | kLevel);
    a.set_level(true);
    b.set_level(true);
    a.set_level(false);
    ioapic_.end_of_interrupt(0x60);
    EXPECT_EQ(messages_.sent.size(), 2u);
    b.set_level(false);
    ioapic_.end_of_interrupt(0x60);
    EXPECT_EQ(messages_.sent.size(), 2u);
}

TEST_F(IoapicTest, RemoteIrrCannotBeWritten) {
    ioapic_.line(9);
    program(9, 0x50 | kLevel | kRemoteIrr);
    EXPECT_FALSE(read(0x10 + 18) & kRemoteIrr);
}

TEST_F(IoapicTest, EoiRegisterEndsAVector) {
    bus::InterruptLine& line = ioapic_.line(9);
    program(9, 0x50 | kLevel);
    line.set_level(true);
    ioapic_.write_register(0x40, 4, 0x50);
    EXPECT_EQ(messages_.sent.size(), 2u);
}

}  // namespace
}  // namespace lockstep::devices
