// SPDX-License-Identifier: Apache-2.0
#include "translate/direct_targets.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "table_kit.h"

namespace lockstep::translate {
namespace {

constexpr size_t kCapacity = 64;
constexpr uint64_t kPc = 0x7f00'1234'5010;

class DirectTargetsTest : public ::testing::Test {
  protected:
    Block& block(uint64_t pc, uint64_t second_page = 0) {
        Block& made = kit_.block({.physical = 0x5000, .pc = pc});
        made.second_page = second_page;
        return made;
    }
    const uint8_t* at(unsigned ways, uint32_t slot) {
        return reinterpret_cast<const uint8_t**>(targets_.table(ways))[slot];
    }
    const uint8_t* miss_of(unsigned ways) const {
        return ways == kWindowWays ? misses_.window : ways >= kKernelWays ? misses_.kernel : misses_.user;
    }
    /// A slot for the block's address, filled in some ways.
    uint32_t fill(const Block& to, std::initializer_list<unsigned> ways) {
        uint32_t slot = targets_.slot_of(to.pc, Shelf::kTranslated);
        for (unsigned each : ways) targets_.fill(each, to);
        return slot;
    }

    BlockKit kit_;
    DirectTargets::Misses misses_{code_address(1), code_address(2), code_address(3)};
    DirectTargets targets_{kCapacity, misses_};
};

TEST_F(DirectTargetsTest, ASlotStandsForOneAddress) {
    uint32_t slot = targets_.slot_of(kPc, Shelf::kTranslated);
    uint32_t other = targets_.slot_of(kPc + 1, Shelf::kTranslated);
    EXPECT_NE(slot, other);
    EXPECT_EQ(targets_.slot_of(kPc, Shelf::kCopied), slot);
    EXPECT_EQ(targets_.address_of(slot), kPc);
    EXPECT_EQ(reinterpret_cast<uint64_t*>(targets_.addresses())[other], kPc + 1);
}

TEST_F(DirectTargetsTest, AnEmptySlotLeadsToTheMissOfItsWays) {
    uint32_t slot = targets_.slot_of(kPc, Shelf::kTranslated);
    for (unsigned ways = 0; ways < kWays; ++ways) EXPECT_EQ(at(ways, slot), miss_of(ways)) << ways;
}

TEST_F(DirectTargetsTest, AFilledSlotLeadsToItsBlockInTheseWaysAlone) {
    Block& to = block(kPc);
    uint32_t slot = fill(to, {2});
    EXPECT_EQ(at(2, slot), to.slot_entry);
    EXPECT_EQ(at(1, slot), miss_of(1));
    EXPECT_TRUE(targets_.may_lead_to(2, kPc & ~kPageMask));
    EXPECT_FALSE(targets_.may_lead_to(1, kPc & ~kPageMask));
}

TEST_F(DirectTargetsTest, NoSlotIsMadeForABlockThatNoBranchLeadsTo) {
    targets_.fill(0, block(kPc));
    EXPECT_FALSE(targets_.may_lead_to(0, kPc & ~kPageMask));
    EXPECT_TRUE(targets_.has_room(kCapacity));
}

TEST_F(DirectTargetsTest, ADroppedPageTakesItsSlotsInTheseWays) {
    Block &to = block(kPc), &beside = block(kPc + kPageSize);
    uint32_t slot = fill(to, {0, 1}), other = fill(beside, {0});
    targets_.drop_page(0, kPc & ~kPageMask);
    EXPECT_EQ(at(0, slot), miss_of(0));
    EXPECT_EQ(at(1, slot), to.slot_entry);
    EXPECT_EQ(at(0, other), beside.slot_entry);
    targets_.fill(0, to);
    EXPECT_EQ(at(0, slot), to.slot_entry);
}

TEST_F(DirectTargetsTest, ABlockGoesWithThePageThatItReachesInto) {
    Block& to = block(kPc, 0x9000);
    uint32_t slot = fill(to, {0, 0, 0});
    EXPECT_TRUE(targets_.may_lead_to(0, (kPc & ~kPageMask) + kPageSize));
    targets_.drop_page(0, (kPc & ~kPageMask) + kPageSize);
    EXPECT_EQ(at(0, slot), miss_of(0));
}

TEST_F(DirectTargetsTest, DroppedWaysAreEmptyAndTheOthersStay) {
    std::vector<uint32_t> slots;
    for (uint64_t i = 0; i < 10; ++i) slots.push_back(fill(block(kPc + i * kPageSize), {3, kKernelWays}));
    targets_.drop_ways(3);
    for (uint32_t slot : slots) {
        EXPECT_EQ(at(3, slot), miss_of(3));
        EXPECT_NE(at(kKernelWays, slot), miss_of(kKernelWays));
    }
    EXPECT_FALSE(targets_.may_lead_to(3, kPc & ~kPageMask));
}

TEST_F(DirectTargetsTest, AForgottenBlockIsReachedInNoWays) {
    Block& to = block(kPc);
    uint32_t slot = fill(to, {0, 5, kWindowWays, kKernelWays});
    targets_.forget(to);
    for (unsigned ways = 0; ways < kWays; ++ways) EXPECT_EQ(at(ways, slot), miss_of(ways)) << ways;
}

TEST_F(DirectTargetsTest, ForgettingCopiesFreesTheirSlotsAlone) {
    uint32_t of_both = targets_.slot_of(kPc, Shelf::kCopied);
    targets_.slot_of(kPc, Shelf::kTranslated);
    uint32_t of_copy = targets_.slot_of(kPc + 1, Shelf::kCopied);
    Block& to = block(kPc);
    targets_.fill(0, to);
    targets_.forget_copies();
    EXPECT_EQ(at(0, of_both), miss_of(0)) << "the block may have been a copy";
    EXPECT_EQ(targets_.slot_of(kPc, Shelf::kTranslated), of_both) << "code refers to it";
    targets_.fill(0, to);
    EXPECT_EQ(at(0, of_both), to.slot_entry);
    uint32_t reused = targets_.slot_of(kPc + 2, Shelf::kTranslated);
    EXPECT_EQ(reused, of_copy);
    EXPECT_EQ(targets_.address_of(reused), kPc + 2);
    EXPECT_NE(targets_.slot_of(kPc + 1, Shelf::kTranslated), reused) << "the address has a slot no more";
}

// A slot that was freed keeps its address until it is used again; the address may get another slot before.
TEST_F(DirectTargetsTest, SlotsSurviveManyRoundsOfCopies) {
    std::vector<uint32_t> kept;
    for (uint64_t i = 0; i < 8; ++i) kept.push_back(targets_.slot_of(kPc + i, Shelf::kTranslated));
    for (int round = 0; round < 20; ++round) {
        std::set<uint32_t> seen(kept.begin(), kept.end());
        for (uint64_t i = 0; targets_.has_room(1); ++i)
            EXPECT_TRUE(seen.insert(targets_.slot_of(kPc + 100 + i * 7, Shelf::kCopied)).second);
        EXPECT_EQ(seen.size(), kCapacity);
        targets_.forget_copies();
        for (uint64_t i = 0; i < 8; ++i) EXPECT_EQ(targets_.slot_of(kPc + i, Shelf::kTranslated), kept[i]);
    }
}

TEST_F(DirectTargetsTest, FullOfAddressesItFindsEach) {
    std::vector<uint32_t> slots;
    for (uint64_t i = 0; i < kCapacity; ++i) {
        EXPECT_TRUE(targets_.has_room(kCapacity - i));
        EXPECT_FALSE(targets_.has_room(kCapacity - i + 1));
        slots.push_back(targets_.slot_of(kPc + i * 4096 * kPageSize, Shelf::kTranslated));  // all in one list
    }
    EXPECT_FALSE(targets_.has_room(1));
    for (uint64_t i = 0; i < kCapacity; ++i)
        EXPECT_EQ(targets_.slot_of(kPc + i * 4096 * kPageSize, Shelf::kTranslated), slots[i]);
}

TEST_F(DirectTargetsTest, AJournalThatIsFullEmptiesItsWays) {
    Block &first = block(kPc), &last = block(kPc + kPageSize);
    uint32_t slot = fill(first, {0}), other = fill(last, {1});
    for (size_t i = 0; i < kCapacity - 1; ++i) targets_.fill(0, first);
    EXPECT_EQ(at(0, slot), first.slot_entry);
    targets_.fill(0, last);
    EXPECT_EQ(at(0, slot), miss_of(0));
    EXPECT_EQ(at(0, other), last.slot_entry);
    EXPECT_EQ(at(1, other), last.slot_entry) << "other ways have journals of their own";
    targets_.drop_ways(0);
    EXPECT_EQ(at(0, other), miss_of(0));
}

TEST_F(DirectTargetsTest, ClearLeavesNothing) {
    for (uint64_t i = 0; i < kCapacity; ++i) fill(block(kPc + i, 0x9000), {0});
    targets_.clear();
    EXPECT_TRUE(targets_.has_room(kCapacity));
    EXPECT_FALSE(targets_.may_lead_to(0, kPc & ~kPageMask));
    uint32_t slot = targets_.slot_of(kPc + 5, Shelf::kTranslated);
    EXPECT_EQ(slot, 0u);
    EXPECT_EQ(at(0, slot), miss_of(0));
    targets_.drop_page(0, kPc & ~kPageMask);
    EXPECT_EQ(at(0, slot), miss_of(0));
}

}  // namespace
}  // namespace lockstep::translate
