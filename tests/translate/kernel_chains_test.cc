// SPDX-License-Identifier: Apache-2.0
#include "translate/kernel_chains.h"

#include <gtest/gtest.h>

#include "table_kit.h"

namespace lockstep::translate {
namespace {

constexpr uint64_t kKernel = 0xffff'ffff'8100'0000;

class KernelChainsTest : public ::testing::Test {
  protected:
    /// A chain from somewhere to a block at `pc`; gives its record.
    uint32_t chain_to(uint64_t pc, uint64_t second_page = 0) {
        uint32_t link = kit_.link();
        Block& block = kit_.block({.physical = pc % (8 << 20), .pc = pc});
        block.second_page = second_page;
        table_.insert(block);
        chains_.add(block);
        table_.chain(link, block);
        return link;
    }
    bool is_chained(uint32_t link) { return BlockTable::is_chained(kit_.cache.record(link)); }

    std::unique_ptr<memory::GuestMemory> memory_ = memory::GuestMemory::create(8 << 20).take();
    BlockKit kit_;
    BlockTable table_{kit_.cache, *memory_, [](GuestPhys) {}, [](Block&) {}};
    KernelChains chains_{table_};
};

TEST_F(KernelChainsTest, AChainGoesWithThePageOfItsTarget) {
    uint32_t link = chain_to(kKernel + 0x123);
    chains_.drop_page(kKernel + kPageSize);
    chains_.drop_page(kKernel - kPageSize);
    EXPECT_TRUE(is_chained(link));
    chains_.drop_page(kKernel);
    EXPECT_FALSE(is_chained(link));
}

TEST_F(KernelChainsTest, AndWithThePageThatItsTargetReachesInto) {
    uint32_t link = chain_to(kKernel + 0xffe, 0x9000);
    chains_.drop_page(kKernel + kPageSize);
    EXPECT_FALSE(is_chained(link));
}

TEST_F(KernelChainsTest, PagesThatShareAPlaceGoTogether) {
    uint32_t link = chain_to(kKernel);
    chains_.drop_page(kKernel + (uint64_t{1} << 14) * kPageSize);
    EXPECT_FALSE(is_chained(link)) << "one too many may go, never one too few";
}

TEST_F(KernelChainsTest, AllGoWithTheUpperHalf) {
    uint32_t near = chain_to(kKernel), far = chain_to(kKernel + (5 << 20));
    chains_.drop_all();
    EXPECT_FALSE(is_chained(near));
    EXPECT_FALSE(is_chained(far));
    uint32_t later = chain_to(kKernel + kPageSize);
    chains_.drop_page(kKernel);
    EXPECT_TRUE(is_chained(later)) << "the pages of what went are not remembered";
}

TEST_F(KernelChainsTest, ATargetMayHaveDied) {
    uint32_t link = chain_to(kKernel);
    table_.forget_page(GuestPhys(kKernel % (8 << 20)));
    EXPECT_FALSE(is_chained(link));
    chains_.drop_page(kKernel);
    EXPECT_FALSE(is_chained(link));
}

TEST_F(KernelChainsTest, ClearTouchesNoBlock) {
    uint32_t link = chain_to(kKernel);
    chains_.clear();
    EXPECT_TRUE(is_chained(link)) << "the code is gone: there is nothing to undo";
    chains_.drop_all();
    EXPECT_TRUE(is_chained(link)) << "it was cleared";
}

}  // namespace
}  // namespace lockstep::translate
