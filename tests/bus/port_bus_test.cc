// SPDX-License-Identifier: Apache-2.0
#include "bus/port_bus.h"

#include <gtest/gtest.h>

#include "recording_handler.h"

namespace lockstep::bus {
namespace {

TEST(PortBus, UnclaimedPortsReadAllOnes) {
    PortBus ports;
    EXPECT_EQ(ports.read(0x80, 1), 0xffu);
    EXPECT_EQ(ports.read(0x80, 2), 0xffffu);
    EXPECT_EQ(ports.read(0xffff, 4), 0xffffffffu);
    ports.write(0x80, 1, 1);
}

TEST(PortBus, OffsetsCountFromTheClaim) {
    PortBus ports;
    RecordingHandler handler(0x11223344);
    ports.claim(0x3f8, 8, handler);
    EXPECT_EQ(ports.read(0x3fd, 1), 0x44u);
    ports.write(0x3f8, 2, 0x1234);
    EXPECT_EQ(handler.reads[0].offset, 5u);
    EXPECT_EQ(handler.writes[0], (Access{0, 2, 0x1234}));
    ports.write(0x400, 1, 0);
    EXPECT_EQ(handler.writes.size(), 1u);
}

TEST(PortBus, ClaimReachesTheLastPort) {
    PortBus ports;
    RecordingHandler handler(7);
    ports.claim(0xffff, 1, handler);
    EXPECT_EQ(ports.read(0xffff, 1), 7u);
}

TEST(PortBusDeathTest, APortHasOneOwner) {
    PortBus ports;
    RecordingHandler handler;
    ports.claim(0x70, 2, handler);
    EXPECT_DEATH(ports.claim(0x71, 1, handler), "claimed twice");
}

}  // namespace
}  // namespace lockstep::bus
