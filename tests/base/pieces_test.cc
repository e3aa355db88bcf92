// SPDX-License-Identifier: Apache-2.0
// Byte strings in pieces are what they would be in one.
#include "base/pieces.h"

#include <gtest/gtest.h>

#include "base/hash.h"

namespace lockstep {
namespace {

Bytes filled(size_t size, uint8_t first) {
    Bytes bytes(size);
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(first + i);
    return bytes;
}

TEST(Pieces, AreTheirStringsOneBehindTheOther) {
    Pieces pieces;
    Bytes whole;
    uint8_t first = 0;
    for (size_t size : {0u, 3u, 4000u, 200u, 5000u, 1u, 4096u, 4095u, 2u}) {
        Bytes bytes = filled(size, first++);
        whole.insert(whole.end(), bytes.begin(), bytes.end());
        pieces.add(std::move(bytes));
    }
    EXPECT_EQ(pieces.size(), whole.size());
    std::vector<ByteSpan> parts(pieces.all().begin(), pieces.all().end());
    EXPECT_EQ(hash64(parts), hash64(whole));
    EXPECT_EQ(pieces, Pieces(whole));
    EXPECT_EQ(pieces.take_joined(), whole);
    EXPECT_EQ(pieces.size(), 0u);
    EXPECT_TRUE(pieces.take_joined().empty());
}

TEST(Pieces, ManyShortOnesAreFewPieces) {
    Pieces pieces;
    for (int i = 0; i < 1000; ++i) pieces.add(Bytes(10));
    EXPECT_LT(pieces.all().size(), 5u);
}

TEST(Pieces, ALongOneIsNotCopied) {
    Bytes bytes(100'000);
    const uint8_t* data = bytes.data();
    Pieces pieces(std::move(bytes));
    EXPECT_EQ(pieces.all().front().data(), data);
    pieces.add(Bytes(5));
    EXPECT_EQ(pieces.take_all().front().data(), data);
}

}  // namespace
}  // namespace lockstep
