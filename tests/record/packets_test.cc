// SPDX-License-Identifier: Apache-2.0
#include "record/packets.h"

#include <gtest/gtest.h>

#include "record/payloads.h"

namespace lockstep::record {
namespace {

TEST(Packets, AreANetworkReceive) {
    std::vector<Bytes> packets = {Bytes(3, 1), Bytes(70'000, 2), {}};
    std::vector<ByteSpan> views(packets.begin(), packets.end());
    Bytes payload = encode_packets(views);
    EXPECT_EQ(payload, encode(NetworkReceive{packets}));
    auto read = packet_views(payload);
    ASSERT_TRUE(read.ok());
    ASSERT_EQ(read.value().size(), 3u);
    for (size_t i = 0; i < 3; ++i)
        EXPECT_EQ(Bytes(read.value()[i].begin(), read.value()[i].end()), packets[i]);
}

TEST(Packets, DamageIsRefused) {
    Bytes payload = encode(NetworkReceive{{Bytes(30, 1), Bytes(40, 2)}});
    EXPECT_FALSE(packet_views(ByteSpan(payload).first(50)).ok());
    EXPECT_FALSE(packet_views({}).ok());
    payload.push_back(0);
    EXPECT_FALSE(packet_views(payload).ok()) << "more bytes than packets";
    Bytes many = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0};
    EXPECT_FALSE(packet_views(many).ok()) << "a count that would fill the memory";
}

}  // namespace
}  // namespace lockstep::record
