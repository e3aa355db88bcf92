// SPDX-License-Identifier: Apache-2.0
#include "debug/gdb_wire.h"

#include <gtest/gtest.h>

namespace lockstep::debug {
namespace {

void feed(GdbReader& reader, std::string_view text) {
    reader.feed({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

TEST(GdbWire, APacketComesInPieces) {
    GdbReader reader;
    std::string packet = gdb_packet("m1000,8");
    EXPECT_EQ(packet, "$m1000,8#92");
    for (char byte : packet.substr(0, packet.size() - 1)) {
        feed(reader, {&byte, 1});
        EXPECT_FALSE(reader.next());
    }
    feed(reader, packet.substr(packet.size() - 1));
    std::optional<GdbEvent> event = reader.next();
    ASSERT_TRUE(event);
    EXPECT_EQ(event->what, GdbEvent::What::kPacket);
    EXPECT_EQ(event->text, "m1000,8");
    EXPECT_FALSE(reader.next());
}

TEST(GdbWire, BytesWithAMeaningAreEscaped) {
    GdbReader reader;
    std::string text = "a$b#c}d*e";
    feed(reader, "+" + gdb_packet(text));
    std::optional<GdbEvent> event = reader.next();
    ASSERT_TRUE(event);
    EXPECT_EQ(event->text, text);
}

TEST(GdbWire, AnInterruptIsNoPartOfAPacket) {
    GdbReader reader;
    feed(reader, "\x03$c#63");
    EXPECT_EQ(reader.next()->what, GdbEvent::What::kInterrupt);
    EXPECT_EQ(reader.next()->text, "c");
    feed(reader, "\x03");
    EXPECT_TRUE(reader.take_interrupt());
    EXPECT_FALSE(reader.take_interrupt());
}

TEST(GdbWire, ABadChecksumIsSaid) {
    GdbReader reader;
    feed(reader, "$c#64$c#6x$c#63");
    EXPECT_EQ(reader.next()->what, GdbEvent::What::kBadChecksum);
    EXPECT_EQ(reader.next()->what, GdbEvent::What::kBadChecksum);
    EXPECT_EQ(reader.next()->what, GdbEvent::What::kPacket);
}

TEST(GdbWire, WhatNeverEndsIsTooLong) {
    GdbReader reader;
    feed(reader, "$" + std::string(2 * GdbReader::kLongestPacket, 'x'));
    EXPECT_FALSE(reader.next());
    EXPECT_TRUE(reader.too_long());
}

TEST(GdbWire, Numbers) {
    std::string_view text = "ffffffff81000000,8";
    EXPECT_EQ(take_hex(text), 0xffffffff81000000u);
    EXPECT_TRUE(take_text(text, ","));
    EXPECT_EQ(take_hex(text), 8u);
    EXPECT_FALSE(take_hex(text));
    text = "11111111111111111";
    EXPECT_FALSE(take_hex(text)) << "more than 64 bits";
    EXPECT_EQ(bytes_of_hex("00fF"), (Bytes{0, 255}));
    EXPECT_FALSE(bytes_of_hex("0"));
    EXPECT_FALSE(bytes_of_hex("+1"));
}

}  // namespace
}  // namespace lockstep::debug
