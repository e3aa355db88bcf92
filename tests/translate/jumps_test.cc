// SPDX-License-Identifier: Apache-2.0
// The two tables that indirect branches look into: the jump cache and, behind it, the jump index.
#include <gtest/gtest.h>

#include "table_kit.h"
#include "translate/jump_cache.h"
#include "translate/jump_index.h"

namespace lockstep::translate {
namespace {

constexpr uint64_t kPage = 0x7f00'1234'5000, kPc = kPage + 0x10;

class JumpCacheTest : public ::testing::Test {
  protected:
    bool is_empty(uint64_t pc) const { return cache_.find(pc) == miss_; }
    /// What the trampolines do with a block that they found for an address of a noted page.
    void enter(uint64_t pc, const uint8_t* entry) {
        reinterpret_cast<const uint8_t**>(cache_.table())[JumpCache::index_of(pc)] = entry;
    }

    const uint8_t* miss_ = code_address(0);
    JumpCache cache_{miss_};
};

TEST_F(JumpCacheTest, ABranchFindsWhatWasInsertedForItsTarget) {
    EXPECT_TRUE(is_empty(kPc));
    EXPECT_FALSE(cache_.may_have(kPage));
    cache_.insert(kPc, code_address(1));
    EXPECT_EQ(cache_.find(kPc), code_address(1));
    EXPECT_TRUE(is_empty(kPc + 1));
    EXPECT_TRUE(cache_.may_have(kPage));
}

TEST_F(JumpCacheTest, AddressesOfOnePlacePushEachOtherOut) {
    uint64_t other = kPc + 0x10'0000'0000;
    while (JumpCache::index_of(other) != JumpCache::index_of(kPc)) ++other;
    cache_.insert(kPc, code_address(1));
    cache_.insert(other, code_address(2));
    EXPECT_EQ(cache_.find(kPc), code_address(2)) << "a guess, which the block compares";
    cache_.forget(kPc, code_address(1));
    EXPECT_EQ(cache_.find(other), code_address(2)) << "another block's";
    cache_.forget(other, code_address(2));
    EXPECT_TRUE(is_empty(other));
}

TEST_F(JumpCacheTest, ADroppedPageTakesItsEntriesAndThoseThatReachIntoIt) {
    constexpr uint64_t kLongest = 15;  // bytes of an instruction
    const uint64_t inside[] = {kPage, kPage + 0x800, kPage + kPageSize - 1, kPage - 1, kPage - kLongest + 1};
    const uint64_t outside[] = {kPage - kLongest, kPage + kPageSize};
    for (uint64_t pc : inside) cache_.insert(pc, code_address(1));
    for (uint64_t pc : outside) cache_.insert(pc, code_address(2));
    cache_.drop_page(kPage);
    for (uint64_t pc : inside) EXPECT_TRUE(is_empty(pc)) << std::hex << pc;
    for (uint64_t pc : outside) EXPECT_EQ(cache_.find(pc), code_address(2)) << std::hex << pc;
}

TEST_F(JumpCacheTest, ANotedPageTellsWhereItIsMapped) {
    EXPECT_EQ(cache_.key_of_page(kPc), 0u);
    cache_.note_page(kPc, 0x5001, 77);
    EXPECT_EQ(cache_.key_of_page(kPage), 0x5001u);
    EXPECT_EQ(cache_.key_of_page(kPage + kPageSize), 0u);
    const auto* pages = reinterpret_cast<const JumpCache::Page*>(cache_.pages());
    EXPECT_EQ(pages[kPage / kPageSize % JumpCache::kPages].start, 77u);
    cache_.note_page(kPc, 0x6001, 88);
    EXPECT_EQ(cache_.key_of_page(kPc), 0x6001u);
    uint64_t rival = kPage + JumpCache::kPages * kPageSize;
    cache_.note_page(rival, 0x7001, 99);
    EXPECT_EQ(cache_.key_of_page(kPc), 0u) << "they share a place";
    cache_.drop_page(kPage);
    EXPECT_EQ(cache_.key_of_page(rival), 0x7001u) << "not the page that was dropped";
    cache_.drop_page(rival);
    EXPECT_EQ(cache_.key_of_page(rival), 0u);
}

TEST_F(JumpCacheTest, WhatTheTrampolinesEnteredGoesToo) {
    for (uint64_t page : {kPage, uint64_t{0xf000}, uint64_t{0xfff'f000}}) {
        for (bool whole : {false, true}) {
            cache_.note_page(page + 8, 0x5001, 0);
            EXPECT_TRUE(cache_.may_have(page));
            for (uint64_t pc = page; pc < page + kPageSize; ++pc) enter(pc, code_address(1));
            if (whole) {
                cache_.clear();
            } else {
                cache_.drop_page(page);
            }
            for (uint64_t pc = page; pc < page + kPageSize; ++pc) ASSERT_TRUE(is_empty(pc)) << std::hex << pc;
            EXPECT_EQ(cache_.key_of_page(page), 0u);
        }
    }
}

TEST_F(JumpCacheTest, ClearLeavesNothing) {
    for (uint64_t i = 0; i < 1000; ++i) {
        cache_.insert(kPc + i * 0x1357, code_address(i + 1));
        cache_.note_page(kPc + i * 0x1357, 0x5001, 0);
    }
    cache_.clear();
    for (uint64_t i = 0; i < 1000; ++i) {
        EXPECT_TRUE(is_empty(kPc + i * 0x1357));
        EXPECT_EQ(cache_.key_of_page(kPc + i * 0x1357), 0u);
        EXPECT_FALSE(cache_.may_have((kPc + i * 0x1357) & ~kPageMask));
    }
}

TEST_F(JumpCacheTest, PagesThatComeAndGoTakeNoMemory) {
    uint64_t before = heap_bytes();
    for (int i = 0; i < 200'000; ++i) {
        cache_.note_page(kPc, 0x5001, 0);
        cache_.drop_page(kPage);
    }
    EXPECT_LT(heap_bytes(), before + 64'000);
    cache_.note_page(kPc, 0x5001, 0);
    cache_.clear();
    EXPECT_EQ(cache_.key_of_page(kPc), 0u);
}

class JumpIndexTest : public ::testing::Test {
  protected:
    BlockKit kit_;
    JumpIndex index_;
};

TEST_F(JumpIndexTest, ABlockIsFoundByItsPlaceModeAndAddress) {
    const BlockKey keys[] = {
        {.physical = 0x5010, .pc = kPc},
        {.physical = 0x6010, .pc = kPc},
        {.physical = 0x5010, .pc = kPc, .mode = {.user = true}},
        {.physical = 0x5010, .pc = kPc, .mode = {.vectors = Vectors::kNone}},
        {.physical = 0x5010, .pc = kPc, .mode = {.window = true}},
    };
    for (const BlockKey& key : keys) {
        Block& block = kit_.block(key);
        EXPECT_EQ(index_.find(kPc, JumpIndex::key_of(block)), nullptr);
        index_.insert(block);
        EXPECT_EQ(index_.find(kPc, JumpIndex::key_of(block)), block.checked_entry);
        EXPECT_EQ(index_.find(kPc + 1, JumpIndex::key_of(block)), nullptr);
    }
}

TEST_F(JumpIndexTest, OfBlocksThatShareAPlaceTheLastIsFound) {
    Block& first = kit_.block({.physical = 0x5010, .pc = kPc});
    Block& second = kit_.block({.physical = 0x5010, .pc = kPc + JumpIndex::kEntries});
    uint64_t key = JumpIndex::key_of(first);
    index_.insert(first);
    index_.insert(second);
    EXPECT_EQ(index_.find(first.pc, key), nullptr);
    index_.forget(first);
    EXPECT_EQ(index_.find(second.pc, key), second.checked_entry) << "not the one that died";
    index_.forget(second);
    EXPECT_EQ(index_.find(second.pc, key), nullptr);
}

TEST_F(JumpIndexTest, ClearLeavesNothing) {
    Block* last = nullptr;
    for (uint64_t i = 0; i < 2000; ++i) {
        last = &kit_.block({.physical = i * 0x1230, .pc = kPage + i * 0x1230});
        index_.insert(*last);
    }
    index_.clear();
    const auto* entries = reinterpret_cast<const JumpIndex::Entry*>(index_.table());
    for (size_t i = 0; i < JumpIndex::kEntries; ++i) ASSERT_EQ(entries[i].key, 0u) << i;
    index_.insert(*last);
    EXPECT_EQ(index_.find(last->pc, JumpIndex::key_of(*last)), last->checked_entry);
}

}  // namespace
}  // namespace lockstep::translate
