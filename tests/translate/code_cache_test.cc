// SPDX-License-Identifier: Apache-2.0
#include "translate/code_cache.h"

#include <gtest/gtest.h>

#include <vector>

#include "table_kit.h"

namespace lockstep::translate {
namespace {

constexpr std::array kAllShelves{Shelf::kTranslated, Shelf::kCopied, Shelf::kTransient};

TEST(CodeCache, ShelvesAndPartsLieApart) {
    CodeCache cache(1 << 20);
    std::vector<HostCode> rooms;
    for (Shelf shelf : kAllShelves)
        for (Part part : {Part::kHot, Part::kCold}) rooms.push_back(cache.room(shelf, part));
    rooms.push_back({cache.trampolines(), cache.trampolines_end()});
    auto* state = reinterpret_cast<uint8_t*>(&cache.state());
    rooms.push_back({state, state + sizeof(EngineState)});
    for (const HostCode& room : rooms) {
        EXPECT_GT(room.size(), 0u);
        EXPECT_TRUE(cache.contains(room.start) && cache.contains(room.end - 1));
        for (const HostCode& other : rooms) {
            if (&other != &room) {
                EXPECT_TRUE(room.end <= other.start || other.end <= room.start);
            }
        }
    }
    EXPECT_FALSE(cache.in_blocks(cache.trampolines()));
    EXPECT_TRUE(cache.in_blocks(rooms[0].start));
}

TEST(CodeCache, TheNextBlockBeginsBehindTheLast) {
    BlockKit kit;
    for (Shelf shelf : kLastingShelves) {
        Block& block = kit.block({}, shelf);
        for (Part part : {Part::kHot, Part::kCold}) {
            EXPECT_EQ(kit.cache.room(shelf, part).start, block.part(part).end);
            EXPECT_EQ(kit.cache.used(shelf, part).size(), 16u);
            EXPECT_EQ(kit.cache.used(shelf, part).start, block.part(part).start);
        }
    }
    CodeUse hot = kit.cache.use_of(Part::kHot), cold = kit.cache.use_of(Part::kCold);
    EXPECT_EQ(hot.bytes, 32u);
    EXPECT_EQ(cold.bytes, 32u);
    EXPECT_LT(hot.room + cold.room, kit.cache.size());
}

TEST(CodeCache, ABlockIsFoundByItsHotPart) {
    BlockKit kit;
    std::vector<Block*> blocks;
    for (int i = 0; i < 100; ++i)
        for (Shelf shelf : kLastingShelves) blocks.push_back(&kit.block({.pc = uint64_t(i)}, shelf));
    for (Block* block : blocks) {
        EXPECT_EQ(kit.cache.block_at(block->part(Part::kHot).start), block);
        EXPECT_EQ(kit.cache.block_at(block->part(Part::kHot).end - 1), block);
        EXPECT_EQ(kit.cache.block_at(block->part(Part::kCold).start), nullptr);
    }
    EXPECT_EQ(kit.cache.block_at(kit.cache.room(Shelf::kTranslated, Part::kHot).start), nullptr);
    EXPECT_EQ(kit.cache.block_at(kit.cache.trampolines()), nullptr);
    Block& transient = kit.block({}, Shelf::kTransient);
    EXPECT_EQ(kit.cache.block_at(transient.entry), &transient);
}

TEST(CodeCache, RecordsOfEachShelfHaveNumbersOfTheirOwn) {
    CodeCache cache(1 << 20);
    std::vector<uint32_t> records;
    for (uint64_t pc = 0; pc < 3; ++pc)
        for (Shelf shelf : kAllShelves) {
            uint32_t next = shelf == Shelf::kTransient ? 0 : cache.next_record(shelf);
            records.push_back(cache.add_record({.pc = pc * 8 + static_cast<uint64_t>(shelf)}, shelf));
            EXPECT_EQ(CodeCache::is_of_copy(records.back()), shelf == Shelf::kCopied);
            if (shelf != Shelf::kTransient) {
                EXPECT_EQ(records.back(), next);
            }
        }
    for (size_t i = 0; i < records.size(); ++i) EXPECT_EQ(cache.record(records[i]).pc, i / 3 * 8 + i % 3);
    cache.start_transient();
    EXPECT_EQ(cache.add_record({.pc = 99}, Shelf::kTransient), records[2]) << "its numbers begin anew";
    EXPECT_EQ(cache.record(records[0]).pc, 0u);
    EXPECT_EQ(cache.record(records[1]).pc, 1u);
}

TEST(CodeCache, MarksAndRelocationsAreTheirBlocks) {
    BlockKit kit;
    for (uint16_t i = 0; i < 3; ++i) {
        Block& block = kit.block({.pc = i});
        block.first_mark =
            kit.cache.add_mark({.host_offset = i, .guest_offset = i, .flags_in_slot = false}, false);
        block.first_relocation = kit.cache.next_relocation();
        block.relocation_count = i;
        for (uint16_t n = 0; n < i; ++n)
            kit.cache.add_relocation({.offset = i, .kind = RelocationKind::kNear, .part = Part::kHot});
    }
    for (Block& block : kit.cache.blocks(Shelf::kTranslated)) {
        EXPECT_EQ(kit.cache.marks(block)->guest_offset, block.pc);
        EXPECT_EQ(kit.cache.relocations(block).size(), block.pc);
        for (const Relocation& relocation : kit.cache.relocations(block))
            EXPECT_EQ(relocation.offset, block.pc);
    }
    kit.cache.start_transient();
    Block& transient = kit.block({}, Shelf::kTransient);
    transient.first_mark =
        kit.cache.add_mark({.host_offset = 9, .guest_offset = 9, .flags_in_slot = true}, true);
    EXPECT_EQ(kit.cache.marks(transient)->guest_offset, 9);
}

TEST(CodeCache, ClearingCopiesLeavesWhatWasTranslated) {
    BlockKit kit;
    Block& block = kit.block({.pc = 1});
    block.first_mark =
        kit.cache.add_mark({.host_offset = 7, .guest_offset = 7, .flags_in_slot = false}, false);
    uint32_t record = kit.cache.add_record({.pc = 5}, Shelf::kTranslated);
    HostCode copies = kit.cache.room(Shelf::kCopied, Part::kHot);
    kit.block({.pc = 2}, Shelf::kCopied);
    uint32_t of_copy = kit.cache.add_record({.pc = 6}, Shelf::kCopied);
    kit.cache.clear(Shelf::kCopied);
    EXPECT_EQ(kit.cache.blocks(Shelf::kCopied).size(), 0u);
    EXPECT_EQ(kit.cache.room(Shelf::kCopied, Part::kHot).start, copies.start);
    EXPECT_EQ(kit.cache.block_at(copies.start), nullptr);
    EXPECT_EQ(kit.cache.next_record(Shelf::kCopied), of_copy);
    EXPECT_EQ(kit.cache.block_at(block.entry), &block);
    EXPECT_EQ(kit.cache.record(record).pc, 5u);
    EXPECT_EQ(kit.cache.marks(block)->guest_offset, 7);
    kit.cache.clear(Shelf::kTranslated);
    EXPECT_EQ(kit.cache.next_record(Shelf::kTranslated), 0u);
    EXPECT_EQ(kit.cache.next_relocation(), 0u);
    EXPECT_EQ(kit.cache.add_mark({}, false), 0u);
    EXPECT_EQ(kit.cache.use_of(Part::kHot).bytes, 0u);
}

TEST(CodeCache, AFullShelfSaysSo) {
    for (Shelf shelf : kLastingShelves) {
        BlockKit kit;
        uint64_t count = 0;
        while (kit.cache.has_room(shelf)) {
            ASSERT_GE(kit.cache.room(shelf, Part::kHot).size(), CodeCache::kLargestPart);
            kit.block({.pc = count++}, shelf);
        }
        EXPECT_GT(count, 1000u);
        EXPECT_TRUE(kit.cache.has_room(shelf == Shelf::kCopied ? Shelf::kTranslated : Shelf::kCopied));
        kit.cache.clear(shelf);
        EXPECT_TRUE(kit.cache.has_room(shelf));
    }
    CodeCache cache(1 << 20);
    uint32_t records = 0;
    for (; cache.has_room(Shelf::kCopied); ++records) cache.add_record({}, Shelf::kCopied);
    EXPECT_GT(records, 1000u) << "records run out, too";
}

}  // namespace
}  // namespace lockstep::translate
