// SPDX-License-Identifier: Apache-2.0
// The window by itself: what the host's MMU lets through at a guest's addresses. Asked by system calls, which
// answer with an error where an access would fault.
#include "translate/host_window.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>

#include "table_kit.h"

namespace lockstep::translate {
namespace {

constexpr uint64_t kPlace = 0x3000'0000'0000;  // far from everything
constexpr uint64_t kRegion = 64 << 20;
constexpr uint64_t kTableGrain = 16 << 10;  // addresses for each byte of the table

class HostWindowTest : public ::testing::Test {
  protected:
    HostWindowTest() : memory_(memory::GuestMemory::create(64 << 20).take()), window_(*memory_) {}

    void SetUp() override {
        ASSERT_TRUE(window_.possible()) << "this host gives no memory on huge pages; the tests need root";
        ASSERT_EQ(pipe(pipe_.data()), 0);
    }
    ~HostWindowTest() override {
        for (int file : pipe_)
            if (file >= 0) close(file);
    }

    bool readable(uint64_t at) {
        if (write(pipe_[1], reinterpret_cast<void*>(at), 1) != 1) return false;
        char byte;
        return read(pipe_[0], &byte, 1) == 1;
    }
    bool writable(uint64_t at) {
        EXPECT_EQ(write(pipe_[1], "x", 1), 1);
        if (read(pipe_[0], reinterpret_cast<void*>(at), 1) == 1) return true;
        char byte;
        EXPECT_EQ(read(pipe_[0], &byte, 1), 1);
        return false;
    }
    /// Where the look at `at` reads.
    uint64_t look(uint64_t at) const {
        return window_.table_base() + at / kTableGrain +
               static_cast<uint64_t>(HostWindow::table_displacement());
    }
    bool map(uint64_t at, uint64_t physical, bool may_write, uint64_t count = 1) {
        return window_.map(
            {.first = at / kPageSize, .count = count, .physical = physical, .writable = may_write});
    }

    std::unique_ptr<memory::GuestMemory> memory_;
    HostWindow window_;
    std::array<int, 2> pipe_{-1, -1};
};

TEST_F(HostWindowTest, ALookFaultsUntilItsRegionIsOpen) {
    EXPECT_TRUE(window_.in_table(look(kPlace)));
    EXPECT_FALSE(readable(look(kPlace)));
    ASSERT_TRUE(window_.open_region_of(look(kPlace)));
    EXPECT_TRUE(readable(look(kPlace)));
    EXPECT_TRUE(readable(look(kPlace + kRegion - 1)));
    EXPECT_FALSE(readable(look(kPlace + kRegion)));
    EXPECT_FALSE(readable(look(kPlace - 1)));
}

TEST_F(HostWindowTest, NothingOfThisProcessIsInReach) {
    uint64_t own = reinterpret_cast<uint64_t>(this);
    for (uint64_t at : {own, own - kRegion, own + kRegion})
        EXPECT_FALSE(window_.open_region_of(look(at))) << std::hex << at;
    EXPECT_FALSE(window_.open_region_of(look(window_.table_base())));
    EXPECT_FALSE(window_.open_region_of(look(uint64_t{1} << 47))) << "the host kernel's half";
}

TEST_F(HostWindowTest, NothingNewOfThisProcessComesIntoReach) {
    ASSERT_TRUE(window_.open_region_of(look(kPlace)));
    for (uint64_t at : {kPlace - kPageSize, kPlace, kPlace + kRegion}) {
        void* taken = mmap(reinterpret_cast<void*>(at), kPageSize, PROT_READ,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        EXPECT_EQ(taken, MAP_FAILED) << std::hex << at;
    }
}

TEST_F(HostWindowTest, AMappedPageIsTheGuestsMemory) {
    ASSERT_TRUE(window_.open_region_of(look(kPlace)));
    std::memcpy(memory_->host(GuestPhys(0x5000)), "guest", 5);
    ASSERT_TRUE(map(kPlace, 0x5000, true));
    EXPECT_EQ(std::memcmp(reinterpret_cast<void*>(kPlace), "guest", 5), 0);
    std::memcpy(reinterpret_cast<void*>(kPlace), "GUEST", 5);
    EXPECT_EQ(std::memcmp(memory_->host(GuestPhys(0x5000)), "GUEST", 5), 0);
    EXPECT_FALSE(readable(kPlace + kPageSize));
}

TEST_F(HostWindowTest, RightsAreAsAskedFor) {
    ASSERT_TRUE(window_.open_region_of(look(kPlace)));
    ASSERT_TRUE(map(kPlace, 0x5000, false));
    EXPECT_TRUE(readable(kPlace));
    EXPECT_FALSE(writable(kPlace));
    ASSERT_TRUE(map(kPlace, 0x5000, true));
    EXPECT_TRUE(writable(kPlace));
}

TEST_F(HostWindowTest, ACodePageIsNotWrittenToByAnyAddress) {
    ASSERT_TRUE(window_.open_region_of(look(kPlace)));
    ASSERT_TRUE(map(kPlace, 0x5000, true));
    ASSERT_TRUE(map(kPlace + 8 * kPageSize, 0x4000, true, 3));
    window_.forbid_writes(GuestPhys(0x5000));
    EXPECT_FALSE(writable(kPlace));
    EXPECT_FALSE(writable(kPlace + 9 * kPageSize));
    EXPECT_TRUE(readable(kPlace + 9 * kPageSize));
    EXPECT_TRUE(writable(kPlace + 8 * kPageSize));
    EXPECT_TRUE(writable(kPlace + 10 * kPageSize));
    EXPECT_TRUE(window_.holds(kPlace / kPageSize + 9, 0x5000, false));
}

TEST_F(HostWindowTest, WhatIsDroppedGoesAndTheRestStays) {
    ASSERT_TRUE(window_.open_region_of(look(kPlace)));
    ASSERT_TRUE(map(kPlace, 0x4000, true, 8));
    window_.drop_page(GuestVirt(kPlace + 3 * kPageSize));
    window_.drop_page(GuestVirt(kPlace + 2 * kPageSize));
    window_.apply_drops();
    for (uint64_t page = 0; page < 8; ++page)
        EXPECT_EQ(readable(kPlace + page * kPageSize), page != 2 && page != 3) << page;
    EXPECT_EQ(window_.page_count(), 6u);
    window_.drop_all();
    window_.apply_drops();
    EXPECT_FALSE(readable(kPlace));
    EXPECT_EQ(window_.page_count(), 0u);
    EXPECT_TRUE(readable(look(kPlace))) << "the region stays open";
}

TEST_F(HostWindowTest, ADropIsNotForgottenWhenThePageIsMappedAnew) {
    ASSERT_TRUE(window_.open_region_of(look(kPlace)));
    ASSERT_TRUE(map(kPlace, 0x4000, true));
    window_.drop_page(GuestVirt(kPlace));
    *memory_->host(GuestPhys(0x7000)) = 7;
    ASSERT_TRUE(map(kPlace, 0x7000, true));
    window_.apply_drops();
    EXPECT_EQ(*reinterpret_cast<uint8_t*>(kPlace), 7);
}

// User code may not run for as long as a guest's kernel likes.
TEST_F(HostWindowTest, PagesThatAreDroppedAgainTakeNoMemory) {
    ASSERT_TRUE(window_.open_region_of(look(kPlace)));
    ASSERT_TRUE(map(kPlace, 0x4000, true));
    uint64_t before = heap_bytes();
    for (int i = 0; i < 100'000; ++i) window_.drop_page(GuestVirt(kPlace));
    EXPECT_LT(heap_bytes(), before + 64'000);
    window_.apply_drops();
    EXPECT_FALSE(readable(kPlace));
}

// Single pages in no order are mappings of their own: there is a bound, and then all go.
TEST_F(HostWindowTest, MappingsAreBounded) {
    size_t most = 0;
    for (uint64_t i = 0; i < 60'000; ++i) {
        uint64_t at = kPlace + i * 2 * kPageSize;
        if (i % 8192 == 0) {
            ASSERT_TRUE(window_.open_region_of(look(at)));
        }
        ASSERT_TRUE(map(at, i * 7 % 16'000 * kPageSize, true));
        most = std::max(most, window_.page_count());
    }
    EXPECT_GE(most, 20'000u);
    EXPECT_LE(most, 30'000u);
}

TEST_F(HostWindowTest, TheEndsOfTheUserHalfCannotBeMapped) {
    EXPECT_FALSE(map(0, 0x4000, true));
    EXPECT_FALSE(map((uint64_t{1} << 47) - kPageSize, 0x4000, true));
}

}  // namespace
}  // namespace lockstep::translate
