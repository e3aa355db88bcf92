// SPDX-License-Identifier: Apache-2.0
#include "translate/shadow_map.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <memory>

#include "table_kit.h"

namespace lockstep::translate {
namespace {

constexpr uint64_t kUpper = 0xffff'8880'0000'0000;
constexpr uint64_t kLow = 0x7f00'1234'5000, kHigh = 0xffff'ffff'8100'0000;
/// The last page below the middle of a map, which the upper half's pages share host memory with.
constexpr uint64_t kBorder = (uint64_t{1} << 47) - kPageSize;

enum class Right { kRead, kClean, kWrite };

class ShadowMapTest : public ::testing::Test {
  protected:
    /// An access of the present space has found `at` to be this page.
    void fill(uint64_t at, uint64_t physical, Right right = Right::kWrite, bool user = true) {
        cpu::TlbEntry entry;
        entry.page = physical;
        entry.present = entry.accessed = entry.ram = true;
        entry.writable = right != Right::kRead;
        entry.dirty = right == Right::kWrite;
        entry.user = user;
        map_.fill(GuestVirt(at), entry);
    }
    static uint64_t entry_in(uint64_t map, uint64_t at) {
        uint64_t entry;
        std::memcpy(&entry, reinterpret_cast<void*>(map + (at >> 12 & ((uint64_t{1} << 36) - 1)) * 8), 8);
        return entry;
    }
    /// The guest-physical page that code of the present space reaches at `at`, plus one; 0: none.
    uint64_t page_of(uint64_t delta, uint64_t at) const {
        return delta ? at + delta - reinterpret_cast<uint64_t>(memory_->base()) + 1 : 0;
    }
    uint64_t reads(uint64_t at) const {
        uint64_t map = map_.read_base(false) + static_cast<uint64_t>(ShadowMap::read_displacement(false));
        return page_of(entry_in(map, at), at);
    }
    uint64_t writes(uint64_t at) const { return page_of(entry_in(map_.write_base(), at), at); }

    std::unique_ptr<memory::GuestMemory> memory_ = memory::GuestMemory::create(8 << 20).take();
    ShadowMap map_{*memory_};
};

TEST_F(ShadowMapTest, AMissIsAZero) {
    for (uint64_t at : {uint64_t{0}, kLow, kBorder, kHigh, ~kPageMask}) {
        EXPECT_EQ(reads(at), 0u);
        EXPECT_EQ(writes(at), 0u);
    }
}

TEST_F(ShadowMapTest, AForksChildLeavesTheParentItsMaps) {
    fill(kLow, 0x3000);
    fill(kHigh, 0x5000);
    pid_t child = fork();
    if (child == 0) {
        map_.leave_shared_halves();
        bool own = reads(kLow) == 0x3001 && !reads(kHigh) && !writes(kHigh);
        fill(kHigh, 0x7000);
        map_.drop_page(0, GuestVirt(kLow));
        _exit(own && reads(kHigh) == 0x7001 ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(reads(kHigh), 0x5001u);
    EXPECT_EQ(writes(kHigh), 0x5001u);
    EXPECT_EQ(reads(kLow), 0x3001u);
}

TEST_F(ShadowMapTest, BothModesFindTheSameMap) {
    EXPECT_EQ(map_.read_base(true) + static_cast<uint64_t>(ShadowMap::read_displacement(true)),
              map_.read_base(false) + static_cast<uint64_t>(ShadowMap::read_displacement(false)));
    EXPECT_EQ(map_.read_base(true) & 0xffff, 0x230cu) << "what BEXTR takes from it: 35 bits from bit 12";
    EXPECT_EQ(map_.read_base(false) & 0xffff, 0x240cu) << "36 bits";
}

TEST_F(ShadowMapTest, APageIsWrittenToOnlyWhereThatNeedsNothingElse) {
    for (uint64_t at : {kLow, kHigh}) {
        fill(at, 0x5000, Right::kRead);
        EXPECT_EQ(reads(at), 0x5001u);
        EXPECT_EQ(writes(at), 0u);
        fill(at, 0x5000, Right::kClean);
        EXPECT_EQ(writes(at), 0u) << "the dirty bit must be set first";
        fill(at, 0x5000);
        EXPECT_EQ(writes(at), 0x5001u);
        EXPECT_EQ(reads(at + kPageSize), 0u);
    }
    memory_->set_code(GuestPhys(0x6000), true);
    fill(kLow + kPageSize, 0x6000);
    EXPECT_EQ(reads(kLow + kPageSize), 0x6001u);
    EXPECT_EQ(writes(kLow + kPageSize), 0u) << "it holds code";
}

TEST_F(ShadowMapTest, AllWritesMayBeForbiddenAtOnce) {
    // Few pages and many: dropped one by one, or the host's memory with them.
    for (uint64_t pages : {100, 70'000}) {
        for (bool apart : {false, true}) {
            auto fill_all = [&] {
                for (uint64_t i = 0; i < pages; ++i)
                    fill(kLow + i * kPageSize, i % 2048 * kPageSize),
                        fill(kUpper + i * kPageSize, i % 2048 * kPageSize);
                fill(kBorder, 0x5000);
            };
            if (apart) map_.part_upper_halves();
            for (unsigned space : {1, 2}) map_.enter_space(space), fill_all();
            map_.forbid_all_writes();
            for (unsigned space : {2, 1}) {
                for (uint64_t i = 0; i < pages; ++i)
                    for (uint64_t half : {kLow, kUpper})
                        ASSERT_EQ(writes(half + i * kPageSize), 0u) << space << " " << i << " of " << pages;
                EXPECT_EQ(writes(kBorder), 0u);
                EXPECT_NE(reads(kLow), 0u);
                map_.enter_space(1);
            }
            fill(kLow, 0x5000), fill(kUpper, 0x6000);
            EXPECT_EQ(writes(kLow), 0x5001u);
            EXPECT_EQ(writes(kUpper), 0x6001u);
            if (apart) map_.join_upper_halves();
        }
    }
}

// In more pages of the map than one page table of the host has, at both ends of them.
TEST_F(ShadowMapTest, WhatLiesFarApartIsForbiddenAndDroppedAtOnce) {
    constexpr uint64_t kGigabytes = 40, kPages = kGigabytes * 1000;
    auto offset = [](uint64_t i) {
        uint64_t turn = i / kGigabytes, page = turn % 2 ? (1 << 18) - 1 - turn : turn;
        return (i % kGigabytes << 30) + page * kPageSize;
    };
    for (bool apart : {false, true}) {
        if (apart) map_.part_upper_halves();
        for (int round = 0; round < 3; ++round) {
            map_.enter_space(3);
            for (uint64_t i = 0; i < kPages; ++i)
                for (uint64_t half : {uint64_t{0}, kUpper}) fill(half + offset(i), i % 2048 * kPageSize);
            fill(kBorder, 0x7000), fill(~kPageMask, 0x8000);
            map_.forbid_all_writes();
            for (uint64_t i = 0; i < kPages; ++i)
                for (uint64_t half : {uint64_t{0}, kUpper}) {
                    ASSERT_EQ(writes(half + offset(i)), 0u) << half << " " << i;
                    ASSERT_EQ(reads(half + offset(i)), i % 2048 * kPageSize + 1) << half << " " << i;
                }
            EXPECT_EQ(writes(kBorder), 0u);
            EXPECT_EQ(writes(~kPageMask), 0u);
            fill(kLow, 0x9000), fill(kBorder, 0x7000);
            map_.drop_space(3);
            EXPECT_EQ(reads(kBorder), 0u);
            for (uint64_t i = 0; i < kPages; ++i) ASSERT_EQ(reads(offset(i)), 0u) << i;
            EXPECT_EQ(reads(kUpper), 1u) << "of the other half";
            map_.drop_upper_half(apart ? 3 : cpu::kEverySpace);
            for (uint64_t i = 0; i < kPages; ++i) ASSERT_EQ(reads(kUpper + offset(i)), 0u) << i;
        }
    }
}

TEST_F(ShadowMapTest, ACodePageIsWrittenToByNobody) {
    fill(kLow, 0x5000), fill(kHigh, 0x5000), fill(kLow + kPageSize, 0x6000);
    map_.enter_space(3);
    fill(kLow + 8 * kPageSize, 0x5000);
    map_.forbid_writes(GuestPhys(0x5000));
    EXPECT_EQ(writes(kLow + 8 * kPageSize), 0u);
    EXPECT_EQ(writes(kHigh), 0u);
    map_.enter_space(0);
    EXPECT_EQ(writes(kLow), 0u);
    EXPECT_EQ(reads(kLow), 0x5001u);
    EXPECT_EQ(writes(kLow + kPageSize), 0x6001u);
}

TEST_F(ShadowMapTest, WhatLeadsElsewhereByNowMayStillBeWritten) {
    fill(kLow, 0x5000);
    map_.drop_page(0, GuestVirt(kLow));
    fill(kLow, 0x6000);
    map_.forbid_writes(GuestPhys(0x5000));
    EXPECT_EQ(writes(kLow), 0x6001u);
}

TEST_F(ShadowMapTest, ACodePageOfManyUsesIsWrittenToByNobody) {
    constexpr uint64_t kUses = 100;
    for (int round = 0; round < 3; ++round)
        for (uint64_t i = 0; i < kUses; ++i) {
            map_.drop_page(0, GuestVirt(kLow + i * kPageSize));
            fill(kLow + i * kPageSize, 0x5000);
        }
    map_.forbid_writes(GuestPhys(0x5000));
    for (uint64_t i = 0; i < kUses; ++i) EXPECT_EQ(writes(kLow + i * kPageSize), 0u) << i;
}

TEST_F(ShadowMapTest, ADroppedPageGoesFromItsSpace) {
    fill(kLow, 0x5000);
    map_.enter_space(1);
    fill(kLow, 0x6000), fill(kLow + kPageSize, 0x7000);
    map_.drop_page(1, GuestVirt(kLow));
    EXPECT_EQ(reads(kLow), 0u);
    EXPECT_EQ(writes(kLow), 0u);
    EXPECT_EQ(reads(kLow + kPageSize), 0x7001u);
    map_.enter_space(0);
    EXPECT_EQ(writes(kLow), 0x5001u);
}

TEST_F(ShadowMapTest, TheUpperHalfIsTheSameInAllSpaces) {
    fill(kHigh, 0x5000), fill(kHigh + kPageSize, 0x6000);
    map_.enter_space(5);
    EXPECT_EQ(writes(kHigh), 0x5001u);
    map_.drop_page(cpu::kEverySpace, GuestVirt(kHigh));
    map_.enter_space(2);
    EXPECT_EQ(reads(kHigh), 0u);
    EXPECT_EQ(reads(kHigh + kPageSize), 0x6001u);
    map_.drop_upper_half(cpu::kEverySpace);
    EXPECT_EQ(reads(kHigh + kPageSize), 0u);
}

TEST_F(ShadowMapTest, ADroppedSpaceLosesItsLowerHalfAlone) {
    map_.enter_space(2);
    for (uint64_t i = 0; i < 100; ++i) fill(kLow + i * kPageSize, i * kPageSize);
    fill(kHigh, 0x5000);
    map_.enter_space(1);
    fill(kLow, 0x6000);
    map_.drop_space(2);
    EXPECT_EQ(reads(kLow), 0x6001u);
    map_.enter_space(2);
    for (uint64_t i = 0; i < 100; ++i) {
        EXPECT_EQ(reads(kLow + i * kPageSize), 0u);
        EXPECT_EQ(writes(kLow + i * kPageSize), 0u);
    }
    EXPECT_EQ(writes(kHigh), 0x5001u);
}

TEST_F(ShadowMapTest, PartedUpperHalvesAreEachSpacesOwn) {
    fill(kHigh, 0x5000);
    map_.part_upper_halves();
    EXPECT_EQ(reads(kHigh), 0u) << "empty at first";
    fill(kHigh, 0x6000);
    map_.enter_space(4);
    EXPECT_EQ(reads(kHigh), 0u);
    fill(kHigh, 0x7000), fill(kHigh + kPageSize, 0x7000);
    map_.drop_page(4, GuestVirt(kHigh + kPageSize));
    EXPECT_EQ(reads(kHigh + kPageSize), 0u);
    map_.drop_upper_half(4);
    EXPECT_EQ(reads(kHigh), 0u);
    map_.enter_space(0);
    EXPECT_EQ(writes(kHigh), 0x6001u);
    map_.enter_space(4), fill(kHigh, 0x7000);
    map_.drop_page(cpu::kEverySpace, GuestVirt(kHigh));
    EXPECT_EQ(reads(kHigh), 0u);
    map_.enter_space(0);
    EXPECT_EQ(reads(kHigh), 0u) << "a global page's";
    fill(kHigh, 0x6000);
    map_.join_upper_halves();
    EXPECT_EQ(reads(kHigh), 0u);
    fill(kHigh, 0x5000);
    map_.enter_space(1);
    EXPECT_EQ(reads(kHigh), 0x5001u);
}

TEST_F(ShadowMapTest, UserCodeDoesNotFindTheSupervisorsPages) {
    fill(kLow, 0x5000, Right::kWrite, false), fill(kHigh, 0x6000, Right::kWrite, false);
    fill(kLow + kPageSize, 0x7000);
    map_.enter_user();
    EXPECT_EQ(reads(kLow), 0u);
    EXPECT_EQ(writes(kLow), 0u);
    EXPECT_EQ(writes(kHigh), 0x6001u) << "out of its reach: 35 bits";
    EXPECT_EQ(writes(kLow + kPageSize), 0x7001u);
}

TEST_F(ShadowMapTest, TheEndOfTheLowerHalfIsNoOtherSpaces) {
    fill(kBorder, 0x5000);
    EXPECT_EQ(writes(kBorder), 0x5001u);
    map_.enter_space(1);
    EXPECT_EQ(reads(kBorder), 0u);
    EXPECT_EQ(writes(kBorder), 0u);
}

TEST_F(ShadowMapTest, ALongJournalLosesNothing) {
    constexpr uint64_t kPages = 70'000;
    for (int round = 0; round < 2; ++round)
        for (uint64_t i = 0; i < kPages; ++i) {
            map_.drop_page(0, GuestVirt(kLow + i * kPageSize));
            fill(kLow + i * kPageSize, i % 2048 * kPageSize, Right::kRead);
        }
    fill(kBorder, 0x5000);
    map_.drop_space(0);
    for (uint64_t i = 0; i < kPages; ++i) ASSERT_EQ(reads(kLow + i * kPageSize), 0u) << i;
    EXPECT_EQ(reads(kBorder), 0u);
}

TEST_F(ShadowMapTest, ManyPagesOfTheUpperHalfGoAtOnce) {
    constexpr uint64_t kPages = 70'000;
    for (bool apart : {false, true}) {
        if (apart) map_.part_upper_halves();
        for (unsigned space : {1, 2}) {
            map_.enter_space(space);
            for (uint64_t i = 0; i < kPages; ++i) fill(kUpper + i * kPageSize, i % 2048 * kPageSize);
        }
        map_.drop_upper_half(apart ? 2 : cpu::kEverySpace);
        for (uint64_t i = 0; i < kPages; ++i) {
            ASSERT_EQ(reads(kUpper + i * kPageSize), 0u) << i;
            ASSERT_EQ(writes(kUpper + i * kPageSize), 0u) << i;
        }
        map_.enter_space(1);
        EXPECT_EQ(reads(kUpper) != 0, apart);
    }
}

// A guest's kernel can drop and touch one page for as long as it likes.
TEST_F(ShadowMapTest, PagesThatComeAndGoTakeNoMemory) {
    uint64_t before = heap_bytes();
    for (int i = 0; i < 1'000'000; ++i)
        for (uint64_t at : {kLow, kBorder}) {
            fill(at, 0x5000, Right::kWrite, false);
            map_.drop_page(0, GuestVirt(at));
        }
    EXPECT_LT(heap_bytes(), before + (4 << 20));
    fill(kLow, 0x5000, Right::kWrite, false);
    map_.enter_user();
    EXPECT_EQ(reads(kLow), 0u);
}

}  // namespace
}  // namespace lockstep::translate
