// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <vector>

#include "memory/large_array.h"

namespace lockstep::memory {
namespace {

constexpr size_t kHugePage = 2 << 20, kEntries = 4 << 20;  // 32 MiB

unsigned take_all(LargeList<uint64_t>& list) {
    unsigned pieces = 0;
    while (list.take_ahead()) ++pieces;
    return pieces;
}

size_t resident_bytes(const void* start, size_t bytes) {
    constexpr size_t kPage = 4096;
    std::vector<unsigned char> pages(bytes / kPage);
    EXPECT_EQ(mincore(const_cast<void*>(start), bytes, pages.data()), 0);
    return kPage *
           static_cast<size_t>(std::ranges::count_if(pages, [](unsigned char page) { return page & 1; }));
}

TEST(Ahead, AListKeepsASixteenthOfItsRoomReadyWhileItGrows) {
    LargeList<uint64_t> list(kEntries);
    list.add(1);
    EXPECT_EQ(take_all(list), 2u) << "2 MiB, and a piece that the first element reaches into";
    EXPECT_GE(resident_bytes(list.begin(), kHugePage), kHugePage);
    for (size_t i = 1; i < kEntries / 4; ++i) list.add(i);
    EXPECT_EQ(take_all(list), 3u) << "10 MiB in all";
    EXPECT_EQ(list[0], 1u) << "contents stay";
    EXPECT_EQ(list[kEntries / 4 - 1], kEntries / 4 - 1);
    while (list.has_room(1)) list.add(0);
    EXPECT_EQ(take_all(list), 11u);
    EXPECT_EQ(take_all(list), 0u);
}

}  // namespace
}  // namespace lockstep::memory
