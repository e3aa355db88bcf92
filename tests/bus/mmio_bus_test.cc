// SPDX-License-Identifier: Apache-2.0
#include "bus/mmio_bus.h"

#include <gtest/gtest.h>

#include "recording_handler.h"

namespace lockstep::bus {
namespace {

TEST(MmioBus, UnclaimedAddressesReadAllOnes) {
    MmioBus mmio;
    EXPECT_EQ(mmio.read(GuestPhys(0xd0000000), 1), 0xffu);
    EXPECT_EQ(mmio.read(GuestPhys(0xd0000000), 8), ~uint64_t{0});
    mmio.write(GuestPhys(0xd0000000), 4, 1);
}

TEST(MmioBus, FindsTheRangeOfAnAddress) {
    MmioBus mmio;
    RecordingHandler low(1), high(2);
    ASSERT_TRUE(mmio.claim(GuestPhys(0x2000), 0x1000, high));
    ASSERT_TRUE(mmio.claim(GuestPhys(0x1000), 0x1000, low));
    for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(mmio.read(GuestPhys(0x1ffc), 4), 1u);
        EXPECT_EQ(mmio.read(GuestPhys(0x2000), 4), 2u);
    }
    EXPECT_EQ(low.reads[0].offset, 0xffcu);
    EXPECT_EQ(mmio.read(GuestPhys(0xfff), 1), 0xffu);
    EXPECT_EQ(mmio.read(GuestPhys(0x3000), 1), 0xffu);
}

TEST(MmioBus, AnAccessAcrossTheEndIsNobodys) {
    MmioBus mmio;
    RecordingHandler handler(1);
    ASSERT_TRUE(mmio.claim(GuestPhys(0x1000), 0x1000, handler));
    EXPECT_EQ(mmio.read(GuestPhys(0x1ffe), 4), 0xffffffffu);
    mmio.write(GuestPhys(0x1ffe), 4, 0);
    EXPECT_TRUE(handler.reads.empty());
    EXPECT_TRUE(handler.writes.empty());
}

TEST(MmioBus, OverlapsAreRefused) {
    MmioBus mmio;
    RecordingHandler handler;
    ASSERT_TRUE(mmio.claim(GuestPhys(0x1000), 0x1000, handler));
    EXPECT_FALSE(mmio.claim(GuestPhys(0x1fff), 1, handler));
    EXPECT_FALSE(mmio.claim(GuestPhys(0x0), 0x1001, handler));
    EXPECT_FALSE(mmio.claim(GuestPhys(0x0), 0x10000, handler));
    EXPECT_FALSE(mmio.claim(GuestPhys(~uint64_t{0}), 2, handler));
    EXPECT_TRUE(mmio.claim(GuestPhys(0x2000), 1, handler));
}

TEST(MmioBus, ReleasedRangesAreFree) {
    MmioBus mmio;
    RecordingHandler a(1), b(2);
    ASSERT_TRUE(mmio.claim(GuestPhys(0x1000), 0x1000, a));
    EXPECT_EQ(mmio.read(GuestPhys(0x1000), 1), 1u);
    mmio.release(a);
    EXPECT_EQ(mmio.read(GuestPhys(0x1000), 1), 0xffu);
    EXPECT_TRUE(mmio.claim(GuestPhys(0x1000), 0x1000, b));
    EXPECT_EQ(mmio.read(GuestPhys(0x1000), 1), 2u);
}

}  // namespace
}  // namespace lockstep::bus
