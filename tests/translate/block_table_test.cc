// SPDX-License-Identifier: Apache-2.0
#include "translate/block_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "table_kit.h"

namespace lockstep::translate {
namespace {

constexpr uint64_t kPhysical = 0x5000, kPc = 0x7f00'1234'5000;

class BlockTableTest : public ::testing::Test {
  protected:
    Block& insert(const BlockKey& key, Shelf shelf = Shelf::kTranslated, uint64_t second_page = 0) {
        Block& block = kit_.block(key, shelf);
        block.second_page = second_page;
        table_.insert(block);
        return block;
    }
    bool is_code(uint64_t physical) const { return !memory_->directly_writable(GuestPhys(physical)); }

    std::unique_ptr<memory::GuestMemory> memory_ = memory::GuestMemory::create(8 << 20).take();
    BlockKit kit_{4 << 20};
    std::vector<uint64_t> code_pages_;
    std::vector<const Block*> forgotten_;
    BlockTable table_{kit_.cache, *memory_, [this](GuestPhys page) { code_pages_.push_back(page.value()); },
                      [this](Block& block) { forgotten_.push_back(&block); }};
};

using Blocks = std::vector<const Block*>;
using Pages = std::vector<uint64_t>;

TEST_F(BlockTableTest, ABlockIsFoundByItsWholeKey) {
    const std::vector<BlockKey> keys = {
        {.physical = kPhysical, .pc = kPc},
        {.physical = kPhysical, .pc = kPc + 0x10'0000},
        {.physical = kPhysical + 8, .pc = kPc},
        {.physical = kPhysical, .pc = kPc, .mode = {.user = true}},
        {.physical = kPhysical, .pc = kPc, .mode = {.vectors = Vectors::kNone}},
        {.physical = kPhysical, .pc = kPc, .mode = {.plain = true}},
        {.physical = kPhysical, .pc = kPc, .mode = {.window = true}},
    };
    Blocks made;
    for (const BlockKey& key : keys) {
        EXPECT_EQ(table_.find(key), nullptr);
        made.push_back(&insert(key));
    }
    for (size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(table_.find(keys[i]), made[i]) << i;
}

TEST_F(BlockTableTest, APageWithBlocksIsACodePage) {
    insert({.physical = kPhysical, .pc = kPc});
    insert({.physical = kPhysical + 8, .pc = kPc + 8});
    EXPECT_EQ(code_pages_, Pages{kPhysical});
    EXPECT_TRUE(is_code(kPhysical));
    EXPECT_FALSE(is_code(kPhysical + kPageSize));
    insert({.physical = kPhysical + 0xffe, .pc = kPc + 0xffe}, Shelf::kTranslated, 0x9000);
    EXPECT_EQ(code_pages_, (Pages{kPhysical, 0x9000})) << "the end of an instruction lies there";
    EXPECT_TRUE(is_code(0x9000));
}

TEST_F(BlockTableTest, ForgettingAPageEndsItsBlocksAlone) {
    BlockKey key{.physical = kPhysical, .pc = kPc}, other{.physical = kPhysical + kPageSize, .pc = kPc};
    Block &first = insert(key), &stays = insert(other);
    table_.forget_page(GuestPhys(kPhysical));
    EXPECT_EQ(table_.find(key), nullptr);
    EXPECT_EQ(forgotten_, Blocks{&first});
    EXPECT_FALSE(first.alive);
    EXPECT_FALSE(is_code(kPhysical));
    EXPECT_EQ(table_.find(other), &stays);
    EXPECT_TRUE(is_code(kPhysical + kPageSize));
    Block& again = insert(key);
    EXPECT_EQ(table_.find(key), &again);
    EXPECT_TRUE(is_code(kPhysical)) << "it is a code page again";
}

TEST_F(BlockTableTest, ABlockAcrossTwoPagesGoesWithEitherAndOnce) {
    for (uint64_t page : {kPhysical, uint64_t{0x9000}}) {
        forgotten_.clear();
        BlockKey across{.physical = kPhysical + 0xffe, .pc = kPc + 0xffe};
        BlockKey beside{.physical = kPhysical, .pc = kPc}, behind{.physical = 0x9004, .pc = kPc + 0x1004};
        Block& block = insert(across, Shelf::kTranslated, 0x9000);
        insert(beside), insert(behind);
        table_.forget_page(GuestPhys(page));
        EXPECT_EQ(table_.find(across), nullptr);
        EXPECT_EQ(std::ranges::count(forgotten_, &block), 1);
        EXPECT_EQ(table_.find(page == kPhysical ? beside : behind), nullptr);
        EXPECT_NE(table_.find(page == kPhysical ? behind : beside), nullptr);
        table_.forget_page(GuestPhys(kPhysical)), table_.forget_page(GuestPhys(0x9000));
        EXPECT_EQ(std::ranges::count(forgotten_, &block), 1);
        EXPECT_EQ(forgotten_.size(), 3u);
    }
}

TEST_F(BlockTableTest, AChainLeadsToTheEntryThatSuitsAndBack) {
    uint32_t plain = kit_.link(), in_slot = kit_.link(Shelf::kTranslated, true);
    Block& to = insert({.physical = kPhysical, .pc = kPc});
    EXPECT_FALSE(BlockTable::is_chained(kit_.cache.record(plain)));
    table_.chain(plain, to);
    table_.chain(in_slot, to);
    EXPECT_EQ(kit_.target_of(plain), to.entry);
    EXPECT_EQ(kit_.target_of(in_slot), to.slot_entry);
    EXPECT_TRUE(BlockTable::is_chained(kit_.cache.record(plain)));
    table_.unchain(to);
    for (uint32_t record : {plain, in_slot}) {
        EXPECT_EQ(kit_.target_of(record), kit_.cache.record(record).stub);
        EXPECT_FALSE(BlockTable::is_chained(kit_.cache.record(record)));
    }
    table_.chain(plain, to);
    EXPECT_EQ(kit_.target_of(plain), to.entry) << "again";
    EXPECT_EQ(kit_.target_of(in_slot), kit_.cache.record(in_slot).stub);
}

TEST_F(BlockTableTest, NoChainLeadsToABlockThatDied) {
    uint32_t link = kit_.link();
    Block& to = insert({.physical = kPhysical, .pc = kPc});
    table_.chain(link, to);
    table_.forget_page(GuestPhys(kPhysical));
    EXPECT_EQ(kit_.target_of(link), kit_.cache.record(link).stub);
}

TEST_F(BlockTableTest, AVariantIsABlockOfTheSameCodeElsewhere) {
    BlockKey key{.physical = kPhysical, .pc = kPc, .mode = {.user = true}};
    BlockKey moved{.physical = kPhysical, .pc = kPc + 0x10'0000, .mode = {.user = true}};
    EXPECT_EQ(table_.find_variant(moved), nullptr);
    Block& block = insert(key);
    EXPECT_EQ(table_.find(moved), nullptr);
    EXPECT_EQ(table_.find_variant(moved), &block);
    BlockKey other_mode = moved;
    other_mode.mode.window = true;
    EXPECT_EQ(table_.find_variant(other_mode), nullptr);
    BlockKey at_the_end = moved;
    at_the_end.pc = (uint64_t{1} << 47) - kPageSize;
    EXPECT_EQ(table_.find_variant(at_the_end), nullptr) << "its branches might lead to no address";
    table_.forget_page(GuestPhys(kPhysical));
    EXPECT_EQ(table_.find_variant(moved), nullptr) << "it is dead";
}

TEST_F(BlockTableTest, NoVariantIsACopyOrFixed) {
    BlockKey moved{.physical = kPhysical, .pc = kPc + 0x10'0000};
    Block& fixed = kit_.block({.physical = kPhysical, .pc = kPc});
    fixed.relocatable = false;
    table_.insert(fixed);
    insert({.physical = kPhysical, .pc = kPc + 0x20'0000}, Shelf::kCopied);
    EXPECT_EQ(table_.find_variant(moved), nullptr);
}

TEST_F(BlockTableTest, CopiesAreForgottenWithTheirChains) {
    BlockKey key{.physical = kPhysical, .pc = kPc}, moved{.physical = kPhysical, .pc = kPc + 0x10'0000};
    BlockKey dead{.physical = 0x9000, .pc = kPc};
    uint32_t of_original = kit_.link(), to_original = kit_.link();
    uint32_t of_copy = kit_.link(Shelf::kCopied);
    Block &original = insert(key), &copy = insert(moved, Shelf::kCopied);
    insert(dead);
    table_.forget_page(GuestPhys(0x9000));
    table_.chain(of_original, copy);
    table_.chain(of_copy, original);
    table_.chain(to_original, original);
    table_.forget_copies();
    kit_.cache.clear(Shelf::kCopied);
    EXPECT_EQ(table_.find(moved), nullptr);
    EXPECT_EQ(table_.find(key), &original);
    EXPECT_EQ(table_.find_variant(moved), &original);
    EXPECT_EQ(table_.find(dead), nullptr);
    EXPECT_TRUE(is_code(kPhysical));
    EXPECT_EQ(kit_.target_of(of_original), kit_.cache.record(of_original).stub);
    EXPECT_EQ(kit_.target_of(to_original), original.entry) << "a chain among what stays";
    // The copy's record is another branch's by now, which unchain() must leave alone.
    uint32_t reused = kit_.link(Shelf::kCopied);
    ASSERT_EQ(reused, of_copy);
    Assembler::bind(kit_.cache.record(reused).host, original.entry);
    table_.unchain(original);
    EXPECT_EQ(kit_.target_of(reused), original.entry);
    EXPECT_EQ(kit_.target_of(to_original), kit_.cache.record(to_original).stub);
    table_.forget_page(GuestPhys(kPhysical));
    EXPECT_EQ(table_.find(key), nullptr) << "the page still knows what stayed";
}

TEST_F(BlockTableTest, ClearLeavesNothing) {
    BlockKey key{.physical = kPhysical, .pc = kPc}, moved{.physical = kPhysical, .pc = kPc + 0x10'0000};
    insert(key), insert(moved, Shelf::kCopied);
    table_.clear();
    for (Shelf shelf : kLastingShelves) kit_.cache.clear(shelf);
    EXPECT_EQ(table_.find(key), nullptr);
    EXPECT_EQ(table_.find(moved), nullptr);
    EXPECT_EQ(table_.find_variant(moved), nullptr);
    EXPECT_FALSE(is_code(kPhysical));
    EXPECT_TRUE(forgotten_.empty()) << "clear() needn't tell of each";
    code_pages_.clear();
    insert(key);
    EXPECT_EQ(code_pages_, Pages{kPhysical});
}

// More blocks than buckets, on few pages, with pages that are written to now and then.
TEST_F(BlockTableTest, ManyBlocksAreThoseOfASimpleMap) {
    const unsigned seed = std::random_device()();
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    std::map<std::pair<uint64_t, uint64_t>, Block*> expected;
    auto key_of = [&] {
        return BlockKey{.physical = random() % 64 * kPageSize + random() % 64 * 64,
                        .pc = kPc + random() % 8 * 0x10'0000};
    };
    for (int step = 0; step < 18'000 && kit_.cache.has_room(Shelf::kTranslated); ++step) {
        BlockKey key = key_of();
        auto [place, is_new] = expected.try_emplace({key.physical, key.pc}, nullptr);
        if (is_new) place->second = &insert(key);
        if (step % 200 == 0) {
            uint64_t page = random() % 64;
            table_.forget_page(GuestPhys(page * kPageSize));
            std::erase_if(expected, [&](const auto& each) { return each.first.first / kPageSize == page; });
        }
        BlockKey asked = key_of();
        auto known = expected.find({asked.physical, asked.pc});
        ASSERT_EQ(table_.find(asked), known == expected.end() ? nullptr : known->second);
    }
    EXPECT_GT(expected.size(), 5'000u);
    for (const auto& [key, block] : expected)
        ASSERT_EQ(table_.find({.physical = key.first, .pc = key.second}), block);
}

}  // namespace
}  // namespace lockstep::translate
