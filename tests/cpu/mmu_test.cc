// SPDX-License-Identifier: Apache-2.0
// Page walks, accessed and dirty bits, and the rules of the architectural TLB.
#include <random>
#include <string>

#include "../memory/kit/marks_told.h"
#include "cpu_fixture.h"

namespace lockstep::cpu {
namespace {

using memory::MarksTold, memory::WritesWatched;

using namespace x86;

constexpr uint64_t kPage = 0x700000, kTarget = 0x300000, kOther = 0x301000;
constexpr uint64_t kUpper = 0xffff888000000000;

/// Writes what it hears as one line.
struct Listener : TlbListener {
    std::string heard;
    PageUse use{};
    void page_dropped(unsigned space, GuestVirt page, PageUse its_use) override {
        heard += fmt::format("page {} {:x};", space, page.value());
        use = its_use;
    }
    void space_dropped(unsigned space) override { heard += fmt::format("space {};", space); }
    void upper_half_dropped(unsigned space) override { heard += fmt::format("upper {};", space); }
    void space_entered(unsigned space) override { heard += fmt::format("enter {};", space); }
};

class MmuTest : public CpuTest {
  protected:
    /// The physical address, or the error code + 1 as a negative number (-1 - code).
    int64_t reach(uint64_t at, Access access = Access::kRead, bool user = false) {
        auto result = cpu.mmu.translate(GuestVirt(at), access, user);
        if (auto* fault = std::get_if<Exception>(&result)) {
            EXPECT_EQ(fault->vector, kPf);
            EXPECT_EQ(fault->cr2, at);
            return -1 - static_cast<int64_t>(fault->error_code);
        }
        return static_cast<int64_t>(std::get<const TlbEntry*>(result)->page);
    }
    static int64_t fault(uint32_t code) { return -1 - static_cast<int64_t>(code); }
    bool cached(uint64_t at) { return cpu.mmu.cached(GuestVirt(at)) != nullptr; }
};

TEST_F(MmuTest, TranslatesPagesOfEachSize) {
    map(kPage, kTarget, kKernelPage);
    map(0x40000000, 0x400000, kKernelPage, 1);
    map(0x8000000000, 0, kKernelPage, 2);
    EXPECT_EQ(reach(kPage + 0x123), int64_t{kTarget});
    EXPECT_EQ(reach(0x40000000 + 0x7654), 0x407000);
    EXPECT_EQ(reach(0x8000000000 + 0x123456), 0x123000);
    EXPECT_TRUE(cpu.mmu.cached(GuestVirt(0x40007000))->large);
}

TEST_F(MmuTest, FaultCodes) {
    EXPECT_EQ(reach(kPage), fault(0));
    EXPECT_EQ(reach(kPage, Access::kWrite, true), fault(kPfWrite | kPfUser));
    EXPECT_EQ(reach(kPage, Access::kExecute), fault(kPfFetch));
    map(kPage, kTarget, kPtePresent | kPteNoExecute);
    EXPECT_EQ(reach(kPage, Access::kWrite), fault(kPfPresent | kPfWrite));
    EXPECT_EQ(reach(kPage, Access::kRead, true), fault(kPfPresent | kPfUser));
    EXPECT_EQ(reach(kPage, Access::kExecute), fault(kPfPresent | kPfFetch));
    EXPECT_EQ(reach(kPage), int64_t{kTarget});
    map(kPage, kTarget, kKernelPage | uint64_t{1} << 50);
    cpu.mmu.clear();
    EXPECT_EQ(reach(kPage), fault(kPfPresent | kPfReserved));
}

TEST_F(MmuTest, ReservedBitsOfLargePagesAndOfNxWithoutNxe) {
    map(0x40000000, 0x400000 | 1 << 14, kKernelPage, 1);
    EXPECT_EQ(reach(0x40000000), fault(kPfPresent | kPfReserved));
    put64(entry_at(0x8000000000, 3), kKernelPage | kPteLarge);
    EXPECT_EQ(reach(0x8000000000), fault(kPfPresent | kPfReserved));
    map(kPage, kTarget, kKernelPage | kPteNoExecute);
    state.efer &= ~kEferNxe;
    EXPECT_EQ(reach(kPage), fault(kPfPresent | kPfReserved));
    EXPECT_EQ(reach(kPage, Access::kExecute), fault(kPfPresent | kPfReserved)) << "no fetch bit without NXE";
}

TEST_F(MmuTest, RightsOfAllLevelsAreCombined) {
    map(kPage, kTarget, kUserPage);
    put64(entry_at(kPage, 1), entry(kPage, 1) & ~kPteUser);
    EXPECT_EQ(reach(kPage, Access::kRead, true), fault(kPfPresent | kPfUser));
    put64(entry_at(kPage, 1), (entry(kPage, 1) | kPteUser) & ~kPteWritable);
    EXPECT_EQ(reach(kPage, Access::kWrite), fault(kPfPresent | kPfWrite));
    put64(entry_at(kPage, 2), entry(kPage, 2) | kPteNoExecute);
    EXPECT_EQ(reach(kPage, Access::kExecute), fault(kPfPresent | kPfFetch));
}

TEST_F(MmuTest, WriteProtectBindsTheSupervisorOnlyWithWp) {
    map(kPage, kTarget, kPtePresent | kPteUser);
    EXPECT_EQ(reach(kPage, Access::kWrite), fault(kPfPresent | kPfWrite));
    state.cr0 &= ~kCr0Wp;
    EXPECT_EQ(reach(kPage, Access::kWrite), int64_t{kTarget});
    EXPECT_TRUE(entry(kPage) & kPteDirty);
    EXPECT_EQ(reach(kPage, Access::kWrite, true), fault(kPfPresent | kPfWrite | kPfUser));
}

TEST_F(MmuTest, AccessedAndDirtyBits) {
    map(kPage, kTarget, kKernelPage);
    reach(kPage);
    EXPECT_EQ(entry(kPage) & (kPteAccessed | kPteDirty), kPteAccessed);
    for (unsigned level = 1; level <= 3; ++level) EXPECT_TRUE(entry(kPage, level) & kPteAccessed) << level;
    reach(kPage, Access::kWrite);
    EXPECT_TRUE(entry(kPage) & kPteDirty);
    EXPECT_FALSE(entry(kPage, 1) & kPteDirty);
}

TEST_F(MmuTest, AFaultSetsNoBits) {
    map(kPage, kTarget, kPtePresent);
    reach(kPage, Access::kWrite);
    EXPECT_FALSE(entry(kPage) & (kPteAccessed | kPteDirty));
}

TEST_F(MmuTest, PageTablesOnCodePagesTellTheListener) {
    map(kPage, kTarget, kKernelPage);
    uint64_t table = entry_at(kPage, 0) & ~kPageMask;
    memory->set_code(GuestPhys(table), true);
    MarksTold listener(*memory);
    reach(kPage);
    EXPECT_EQ(listener.code_pages, std::vector{GuestPhys(table)});
    EXPECT_TRUE(entry(kPage) & kPteAccessed);
}

TEST_F(MmuTest, AccessedAndDirtyBitsTellTheWatcher) {
    map(kPage, kTarget, kKernelPage);
    GuestPhys table(entry_at(kPage, 0) & ~kPageMask);
    {
        WritesWatched watcher(*memory);
        reach(kPage);
        EXPECT_EQ(std::ranges::count(watcher.pages, table), 1);
    }
    WritesWatched again(*memory);
    reach(kPage);
    EXPECT_TRUE(again.pages.empty()) << "nothing to set";
    reach(kPage, Access::kWrite);
    EXPECT_EQ(again.pages, std::vector{table}) << "the dirty bit";
}

TEST_F(MmuTest, AStaleTranslationStaysUntilItIsInvalidated) {
    map(kPage, kTarget, kKernelPage);
    reach(kPage);
    map(kPage, kOther, kKernelPage);
    EXPECT_EQ(reach(kPage), int64_t{kTarget});
    cpu.mmu.drop_page(GuestVirt(kPage + 5));
    EXPECT_EQ(reach(kPage), int64_t{kOther});
}

TEST_F(MmuTest, FetchAndReadEachWalkOnce) {
    map(kPage, kTarget, kKernelPage);
    reach(kPage, Access::kExecute);
    map(kPage, kOther, kKernelPage);
    EXPECT_EQ(reach(kPage, Access::kExecute), int64_t{kTarget}) << "still the old page";
    EXPECT_EQ(reach(kPage), int64_t{kOther}) << "a read walks for itself";
    EXPECT_FALSE(cpu.mmu.cached(GuestVirt(kPage))->fetched) << "and the entry is of another page now";
    EXPECT_EQ(reach(kPage, Access::kExecute), int64_t{kOther});
    EXPECT_TRUE(cpu.mmu.cached(GuestVirt(kPage))->accessed);
}

TEST_F(MmuTest, MissingRightsAreLookedUpAgain) {
    map(kPage, kTarget, kPtePresent);
    reach(kPage);
    map(kPage, kTarget, kKernelPage);
    EXPECT_EQ(reach(kPage, Access::kWrite), int64_t{kTarget}) << "granted without INVLPG";
}

TEST_F(MmuTest, APageFaultDropsTheEntryAndTellsTheListener) {
    Listener listener;
    cpu.mmu.set_listener(&listener);
    map(kPage, kTarget, kPtePresent);
    reach(kPage);
    EXPECT_EQ(reach(kPage, Access::kWrite), fault(kPfPresent | kPfWrite));
    EXPECT_FALSE(cached(kPage));
    EXPECT_EQ(listener.heard, fmt::format("page 0 {:x};", kPage));
}

TEST_F(MmuTest, ARefreshThatTakesRightsAwayIsHeard) {
    Listener listener;
    cpu.mmu.set_listener(&listener);
    map(kPage, kTarget, kUserPage);
    reach(kPage, Access::kRead, true);
    map(kPage, kTarget, kKernelPage);
    reach(kPage, Access::kExecute);
    EXPECT_EQ(listener.heard, fmt::format("page 0 {:x};", kPage));
    EXPECT_EQ(reach(kPage, Access::kRead, true), fault(kPfPresent | kPfUser));
}

TEST_F(MmuTest, InvlpgDropsAWholeLargePage) {
    map(0x40000000, 0x400000, kKernelPage, 1);
    reach(0x40000000);
    reach(0x40005000);
    map(0x40200000, 0x400000, kKernelPage, 1);
    reach(0x40200000);
    cpu.mmu.drop_page(GuestVirt(0x400ff000));
    EXPECT_FALSE(cached(0x40000000) || cached(0x40005000));
    EXPECT_TRUE(cached(0x40200000));
}

TEST_F(MmuTest, InvlpgDropsAWholeGigabytePage) {
    map(kUpper, 0, kKernelPage | kPteGlobal, 2);
    reach(kUpper);
    reach(kUpper + 0x800000);
    cpu.mmu.drop_page(GuestVirt(kUpper + 0x3ffff000));
    EXPECT_FALSE(cached(kUpper) || cached(kUpper + 0x800000));
}

TEST_F(MmuTest, LoadingCr3KeepsOnlyGlobalPagesOfTheUpperHalf) {
    map(kPage, kTarget, kKernelPage);
    map(kUpper, kTarget, kKernelPage | kPteGlobal);
    map(kUpper + 0x1000, kTarget, kKernelPage);
    for (uint64_t at : {kPage, kUpper, kUpper + 0x1000}) reach(at);
    Listener listener;
    cpu.mmu.set_listener(&listener);
    cpu.mmu.load_cr3(state.cr3, false);
    EXPECT_FALSE(cached(kPage));
    EXPECT_TRUE(cached(kUpper));
    EXPECT_FALSE(cached(kUpper + 0x1000));
    EXPECT_EQ(listener.heard, fmt::format("space 0;page 0 {:x};", kUpper + 0x1000));
}

TEST_F(MmuTest, OfManyPagesOfTheUpperHalfNoneIsHeardAlone) {
    Listener listener;
    cpu.mmu.set_listener(&listener);
    for (uint64_t i = 0; i <= kFewPages; ++i) {
        map(kUpper + i * kPageSize, kTarget, kKernelPage);
        reach(kUpper + i * kPageSize);
    }
    cpu.mmu.load_cr3(state.cr3, false);
    EXPECT_EQ(listener.heard, "upper 0;");
}

TEST_F(MmuTest, ADroppedPageSaysWhetherItWasFetched) {
    Listener listener;
    cpu.mmu.set_listener(&listener);
    map(kPage, kTarget, kKernelPage);
    reach(kPage);
    cpu.mmu.drop_page(GuestVirt(kPage));
    EXPECT_EQ(listener.use, PageUse::kData);
    reach(kPage, Access::kExecute);
    reach(kPage);
    cpu.mmu.drop_page(GuestVirt(kPage));
    EXPECT_EQ(listener.use, PageUse::kCode);
}

TEST_F(MmuTest, SpacesHaveUpperHalvesOfTheirOwn) {
    state.cr4 |= kCr4Pcide;
    cpu.mmu.clear();
    uint64_t tables = state.cr3;
    map(kUpper, kTarget, kKernelPage);
    map(kUpper + 0x1000, kTarget, kKernelPage | kPteGlobal);
    cpu.mmu.load_cr3(tables | 1, true);
    for (uint64_t at : {kUpper, kUpper + 0x1000}) reach(at);
    unsigned first = cpu.mmu.space();
    cpu.mmu.load_cr3(tables | 2, true);
    EXPECT_FALSE(cached(kUpper));
    EXPECT_TRUE(cached(kUpper + 0x1000));
    EXPECT_TRUE(cpu.mmu.has_own_upper_half(first));
    EXPECT_FALSE(cpu.mmu.has_own_upper_half(cpu.mmu.space()));
    map(kUpper, kOther, kKernelPage);
    EXPECT_EQ(reach(kUpper), int64_t{kOther});
    cpu.mmu.load_cr3(tables | 1, true);
    EXPECT_EQ(reach(kUpper), int64_t{kTarget}) << "as it was when this space saw it";
    Listener listener;
    cpu.mmu.set_listener(&listener);
    cpu.mmu.drop_page(GuestVirt(kUpper));
    cpu.mmu.drop_page(GuestVirt(kUpper + 0x1000));
    EXPECT_EQ(listener.heard,
              fmt::format("page {} {:x};page {} {:x};", first, kUpper, kEverySpace, kUpper + 0x1000));
    EXPECT_EQ(reach(kUpper), int64_t{kOther});
}

TEST_F(MmuTest, APageOfTheUpperHalfThatBecomesGlobalOrCeasesToBe) {
    map(kUpper, kTarget, kKernelPage);
    reach(kUpper);
    map(kUpper, kOther, kKernelPage | kPteGlobal);
    EXPECT_EQ(reach(kUpper, Access::kExecute), int64_t{kOther}) << "another kind of access walks again";
    EXPECT_EQ(reach(kUpper), int64_t{kOther});
    map(kUpper, kTarget, kKernelPage);
    EXPECT_EQ(reach(kUpper, Access::kWrite), int64_t{kTarget});
    EXPECT_EQ(reach(kUpper), int64_t{kTarget});
}

// Pieces of a large page are entered at once; what was known of one before they were must not be seen.
TEST_F(MmuTest, ALargePageWhereASmallOneWas) {
    constexpr uint64_t kRegion = 0x40000000, kLarge = 0x400000;
    map(kRegion + 0x1000, kTarget, kKernelPage);
    reach(kRegion + 0x1000);
    EXPECT_EQ(cpu.mmu.glance<Access::kRead>(GuestVirt(kRegion + 0x1000), false),
              memory->host(GuestPhys(kTarget)));
    map(kRegion, kLarge, kKernelPage, 1);
    cpu.mmu.drop_page(GuestVirt(kRegion + 0x1000));
    reach(kRegion);
    uint8_t* seen = cpu.mmu.glance<Access::kRead>(GuestVirt(kRegion + 0x1000), false);
    EXPECT_TRUE(!seen || seen == memory->host(GuestPhys(kLarge + 0x1000)));
}

TEST_F(MmuTest, GlobalMeansNothingWithoutPge) {
    state.cr4 &= ~kCr4Pge;
    map(kUpper, kTarget, kKernelPage | kPteGlobal);
    reach(kUpper);
    cpu.mmu.load_cr3(state.cr3, false);
    EXPECT_FALSE(cached(kUpper));
}

TEST_F(MmuTest, PcidsKeepTheirTranslations) {
    state.cr4 |= kCr4Pcide;
    cpu.mmu.clear();
    map(kPage, kTarget, kKernelPage);
    uint64_t tables = state.cr3;
    cpu.mmu.load_cr3(tables | 1, false);
    unsigned first = cpu.mmu.space();
    reach(kPage);
    cpu.mmu.load_cr3(tables | 2, false);
    EXPECT_NE(cpu.mmu.space(), first);
    EXPECT_FALSE(cached(kPage));
    cpu.mmu.load_cr3(tables | 1, true);
    EXPECT_EQ(cpu.mmu.space(), first);
    EXPECT_TRUE(cached(kPage));
    cpu.mmu.load_cr3(tables | 1, false);
    EXPECT_FALSE(cached(kPage));
    EXPECT_EQ(state.cr3, tables | 1);
}

TEST_F(MmuTest, TheSpaceBoundFirstIsReused) {
    state.cr4 |= kCr4Pcide;
    cpu.mmu.clear();  // PCID 0 has space 0
    map(kPage, kTarget, kKernelPage);
    uint64_t tables = state.cr3;
    for (unsigned pcid = 0; pcid < kSpaces; ++pcid) {
        cpu.mmu.load_cr3(tables | pcid, true);
        reach(kPage);
    }
    cpu.mmu.load_cr3(tables | 100, true);
    EXPECT_EQ(cpu.mmu.space(), 0u);
    EXPECT_FALSE(cached(kPage));
    cpu.mmu.load_cr3(tables | 1, true);
    EXPECT_TRUE(cached(kPage));
    cpu.mmu.load_cr3(tables | 0, true);
    EXPECT_FALSE(cached(kPage)) << "PCID 0 lost its space";
}

TEST_F(MmuTest, InvpcidOfEachType) {
    state.cr4 |= kCr4Pcide;
    cpu.mmu.clear();
    uint64_t tables = state.cr3;
    map(kPage, kTarget, kKernelPage);
    map(kPage + 0x1000, kTarget, kKernelPage);
    map(kUpper, kTarget, kKernelPage | kPteGlobal);
    auto fill = [&] {
        for (uint64_t pcid : {2, 1}) {
            cpu.mmu.load_cr3(tables | pcid, true);
            for (uint64_t at : {kPage, kPage + 0x1000, kUpper}) reach(at);
        }
    };
    auto in_space_2 = [&](uint64_t at) {
        cpu.mmu.load_cr3(tables | 2, true);
        bool result = cached(at);
        cpu.mmu.load_cr3(tables | 1, true);
        return result;
    };
    fill();
    cpu.mmu.drop_pcid(0, 2, GuestVirt(kPage));
    EXPECT_FALSE(in_space_2(kPage));
    EXPECT_TRUE(in_space_2(kPage + 0x1000) && cached(kPage));
    cpu.mmu.drop_pcid(1, 2, GuestVirt(0));
    EXPECT_FALSE(in_space_2(kPage + 0x1000));
    EXPECT_TRUE(cached(kPage) && cached(kUpper));
    fill();
    cpu.mmu.drop_pcid(3, 0, GuestVirt(0));
    EXPECT_FALSE(cached(kPage) || in_space_2(kPage));
    EXPECT_TRUE(cached(kUpper));
    fill();
    cpu.mmu.drop_pcid(2, 0, GuestVirt(0));
    EXPECT_FALSE(cached(kPage) || cached(kUpper));
}

TEST_F(MmuTest, InvlpgReachesGlobalPagesOfOtherSpaces) {
    state.cr4 |= kCr4Pcide;
    cpu.mmu.clear();
    uint64_t tables = state.cr3;
    map(kPage, kTarget, kKernelPage | kPteGlobal);
    cpu.mmu.load_cr3(tables | 1, true);
    reach(kPage);
    cpu.mmu.load_cr3(tables | 2, true);
    cpu.mmu.drop_page(GuestVirt(kPage));
    cpu.mmu.load_cr3(tables | 1, true);
    EXPECT_FALSE(cached(kPage));
}

TEST_F(MmuTest, PeekFetchTellsWhereAFetchWouldReadAndHasNoEffect) {
    map(kPage, kTarget, kKernelPage);
    EXPECT_EQ(cpu.mmu.peek_fetch(GuestVirt(kPage + 7), false), GuestPhys(kTarget + 7));
    EXPECT_FALSE(cached(kPage));
    EXPECT_FALSE(entry(kPage) & kPteAccessed);
    EXPECT_FALSE(cpu.mmu.peek_fetch(GuestVirt(kPage), true).has_value()) << "a page of the kernel's";
    EXPECT_FALSE(cpu.mmu.peek_fetch(GuestVirt(kPage + 0x1000), false).has_value());
    map(kPage, kTarget, kKernelPage | kPteNoExecute);
    EXPECT_FALSE(cpu.mmu.peek_fetch(GuestVirt(kPage), false).has_value()) << "no code";
}

TEST_F(MmuTest, NonCanonicalAddressesAndTablesOutsideRam) {
    auto result = cpu.mmu.translate(GuestVirt(0x800000000000), Access::kRead, false);
    EXPECT_EQ(std::get<Exception>(result).vector, kGp);
    put64(entry_at(kPage, 1), 0xfee00000 | kKernelPage);
    EXPECT_EQ(reach(kPage), fault(kPfPresent | kPfReserved)) << "a bus without an answer reads as ones";
}

TEST_F(MmuTest, WithoutPagingAddressesAreTheirOwn) {
    state.cr0 &= ~kCr0Pg;
    cpu.mmu.clear();
    EXPECT_EQ(reach(0x654321), 0x654000);
    EXPECT_EQ(reach(0x654321, Access::kWrite), 0x654000);
    EXPECT_EQ(reach(0x654321, Access::kExecute), 0x654000);
}

TEST_F(MmuTest, ManyRegionsAreFoundAgainAndBounded) {
    // One page table, seen through many entries of the level above.
    map(0x10000000000, kTarget, kKernelPage);
    uint64_t table = entry(0x10000000000, 1);
    for (uint64_t i = 0; i < 512; ++i) put64((entry_at(0x10000000000, 1) & ~kPageMask) + i * 8, table);
    uint64_t directory = entry(0x10000000000, 2);
    for (uint64_t i = 0; i < 512; ++i) put64((entry_at(0x10000000000, 2) & ~kPageMask) + i * 8, directory);
    Listener listener;
    cpu.mmu.set_listener(&listener);
    for (uint64_t i = 0; i < 16000; ++i) ASSERT_EQ(reach(0x10000000000 + i * 0x200000), int64_t{kTarget});
    EXPECT_EQ(listener.heard, "");
    for (uint64_t i = 0; i < 16000; ++i) ASSERT_TRUE(cached(0x10000000000 + i * 0x200000));
    for (uint64_t i = 16000; i < 17000; ++i) ASSERT_EQ(reach(0x10000000000 + i * 0x200000), int64_t{kTarget});
    EXPECT_EQ(listener.heard, "space 0;") << "the bound drops everything, once";
}

// glance() may know nothing at any time, but what it answers must be what translate() would say without a
// walk.
class GlanceTest : public MmuTest {
  protected:
    template <Access kAccess>
    bool glance(uint64_t at, bool user = false) {
        return cpu.mmu.glance<kAccess>(GuestVirt(at), user) != nullptr;
    }
    template <Access kAccess>
    void check(uint64_t at, bool user) {
        const uint8_t* host = cpu.mmu.glance<kAccess>(GuestVirt(at), user);
        if (!host) return;
        ++answers;
        const TlbEntry* entry = cpu.mmu.cached(GuestVirt(at));
        ASSERT_NE(entry, nullptr);
        EXPECT_EQ(host, memory->host(GuestPhys(entry->page)) + (at & kPageMask));
        bool before = kAccess == Access::kExecute ? entry->fetched : entry->accessed;
        EXPECT_TRUE(before);
        EXPECT_EQ(reach(at, kAccess, user), static_cast<int64_t>(entry->page));
    }
    unsigned answers = 0;
};

TEST_F(GlanceTest, KnowsWhatWasReachedInTheSameWay) {
    map(kPage, kTarget, kKernelPage);
    EXPECT_FALSE(glance<Access::kRead>(kPage));
    reach(kPage + 5);
    EXPECT_EQ(cpu.mmu.glance<Access::kRead>(GuestVirt(kPage + 7), false),
              memory->host(GuestPhys(kTarget + 7)));
    EXPECT_FALSE(glance<Access::kRead>(kPage, true));
    EXPECT_FALSE(glance<Access::kWrite>(kPage)) << "not dirty yet";
    EXPECT_FALSE(glance<Access::kExecute>(kPage));
    EXPECT_FALSE(glance<Access::kRead>(kPage | uint64_t{1} << 48)) << "not canonical";
    reach(kPage, Access::kWrite);
    EXPECT_TRUE(glance<Access::kWrite>(kPage));
    cpu.mmu.drop_page(GuestVirt(kPage));
    EXPECT_FALSE(glance<Access::kRead>(kPage));
}

TEST_F(GlanceTest, PagesThatAreNotRamAreNotAnswered) {
    map(kPage, 0xfee00000, kKernelPage);
    EXPECT_EQ(reach(kPage), 0xfee00000);
    EXPECT_FALSE(glance<Access::kRead>(kPage));
}

TEST_F(GlanceTest, NeverContradictsTheTlb) {
    std::mt19937_64 random(7);
    state.cr4 |= kCr4Pcide;
    cpu.mmu.clear();
    uint64_t cr3 = state.cr3;
    const uint64_t pages[] = {kPage,  kPage + 0x1000,  kPage + 0x80000,
                              kUpper, kUpper + 0x1000, 0xffffffff80000000};
    const uint64_t targets[] = {kTarget, kOther, 0xfee00000};
    for (unsigned round = 0; round < 60000; ++round) {
        uint64_t at = pages[random() % 6] + random() % kPageSize;
        bool user = random() % 2;
        switch (random() % 12) {
            case 0:
                map(at & ~kPageMask, targets[random() % 3],
                    random() &
                        (kPtePresent | kPteWritable | kPteUser | kPteGlobal | kPteNoExecute | kPteDirty));
                break;
            case 1:
                cpu.mmu.drop_page(GuestVirt(at));
                break;
            case 2:
                cpu.mmu.load_cr3(cr3 | random() % 12, random() % 4 != 0);
                break;
            case 3:
                if (random() % 8 == 0) cpu.mmu.clear();
                break;
            case 4:
                cpu.mmu.drop_pcid(random() % 4, random() % 12, GuestVirt(at));
                break;
            default:
                reach(at, static_cast<Access>(random() % 3), user);
        }
        for (uint64_t page : pages) {
            check<Access::kRead>(page, user);
            check<Access::kWrite>(page, user);
            check<Access::kExecute>(page, user);
        }
    }
    EXPECT_GT(answers, 10000u);
}

TEST_F(GlanceTest, OldAnswersDoNotComeBackWhenTheGenerationsWrap) {
    map(kPage, kTarget, kKernelPage);
    reach(kPage);
    for (unsigned i = 0; i < 3 * 0xfff; ++i) {
        cpu.mmu.clear();
        ASSERT_FALSE(glance<Access::kRead>(kPage)) << i;
        reach(kOther);  // something to drop
    }
}

}  // namespace
}  // namespace lockstep::cpu
