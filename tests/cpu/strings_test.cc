// SPDX-License-Identifier: Apache-2.0
// String instructions: whole and in pieces, across pages, faults midway, both directions, compared with a
// simple model from seeds.
#include <random>

#include "../memory/kit/marks_told.h"
#include "cpu_fixture.h"

namespace lockstep::cpu {
namespace {

using memory::MarksTold, memory::WritesWatched;

constexpr uint64_t kSource = 0x700000, kTarget = 0x710000;            // virtual, three pages each
constexpr uint64_t kSourceFrames[] = {0x300000, 0x305000, 0x302000};  // shuffled
constexpr uint64_t kTargetFrames[] = {0x30a000, 0x308000, 0x30c000};

class StringsTest : public CpuTest {
  protected:
    StringsTest() {
        for (unsigned i = 0; i < 3; ++i) {
            map(kSource + i * kPageSize, kSourceFrames[i], kKernelPage);
            map(kTarget + i * kPageSize, kTargetFrames[i], kKernelPage);
        }
    }
    uint8_t& byte(uint64_t virt) { return *memory->host(physical(virt)); }
    void fill(uint64_t virt, uint64_t size, unsigned seed) {
        for (uint64_t i = 0; i < size; ++i) byte(virt + i) = static_cast<uint8_t>(i * 7 + seed);
    }
    void set(uint64_t rsi, uint64_t rdi, uint64_t rcx) {
        state.gpr[kRsi] = rsi;
        state.gpr[kRdi] = rdi;
        state.gpr[kRcx] = rcx;
    }
};

TEST_F(StringsTest, RepMovsbAcrossPages) {
    fill(kSource, 2 * kPageSize + 100, 3);
    set(kSource + 5, kTarget + 900, 9000);
    run_done({0xf3, 0xa4});
    EXPECT_EQ(state.rip, kCode + 2);
    EXPECT_EQ(state.gpr[kRcx], 0u);
    EXPECT_EQ(state.gpr[kRsi], kSource + 5 + 9000);
    EXPECT_EQ(state.gpr[kRdi], kTarget + 900 + 9000);
    // The source range ran past its second page into the third, whose bytes are zero beyond 2 pages + 100.
    for (uint64_t i = 0; i < 9000; ++i) ASSERT_EQ(byte(kTarget + 900 + i), byte(kSource + 5 + i)) << i;
    EXPECT_EQ(byte(kTarget + 899), 0);
    EXPECT_EQ(byte(kTarget + 900 + 9000), 0);
}

TEST_F(StringsTest, ElementsThatCrossPages) {
    fill(kSource, 3 * kPageSize, 1);
    set(kSource + 3, kTarget + 5, 1200);
    run_done({0xf3, 0x48, 0xa5});
    for (uint64_t i = 0; i < 9600; ++i) ASSERT_EQ(byte(kTarget + 5 + i), byte(kSource + 3 + i)) << i;
}

TEST_F(StringsTest, AFaultMidwayLeavesTheRegistersAtTheElement) {
    fill(kSource, 3 * kPageSize, 9);
    map(kTarget + kPageSize, 0, 0);
    set(kSource, kTarget + kPageSize - 24, 10);
    run_fault({0xf3, 0x48, 0xa5}, kPf, x86::kPfWrite);
    EXPECT_EQ(exception.cr2, kTarget + kPageSize);
    EXPECT_EQ(state.gpr[kRcx], 7u);
    EXPECT_EQ(state.gpr[kRsi], kSource + 24);
    EXPECT_EQ(state.gpr[kRdi], kTarget + kPageSize);
    map(kTarget + kPageSize, kTargetFrames[1], kKernelPage);
    run_done({0xf3, 0x48, 0xa5});
    for (uint64_t i = 0; i < 80; ++i) ASSERT_EQ(byte(kTarget + kPageSize - 24 + i), byte(kSource + i));
}

TEST_F(StringsTest, AnElementThatFaultsOnItsSecondPageIsNotWrittenInPart) {
    map(kTarget + kPageSize, 0, 0);
    byte(kTarget + kPageSize - 1) = 0x55;
    state.gpr[kRax] = ~uint64_t{0};
    set(0, kTarget + kPageSize - 1, 1);
    run_fault({0xf3, 0x48, 0xab}, kPf, x86::kPfWrite);
    EXPECT_EQ(byte(kTarget + kPageSize - 1), 0x55);
    EXPECT_EQ(state.gpr[kRcx], 1u);
}

TEST_F(StringsTest, OverlappingForwardMovesRepeatThemselves) {
    byte(kSource) = 'a';
    byte(kSource + 1) = 'b';
    set(kSource, kSource + 2, 100);
    run_done({0xf3, 0xa4});
    for (uint64_t i = 0; i < 102; ++i) ASSERT_EQ(byte(kSource + i), i % 2 ? 'b' : 'a');
}

TEST_F(StringsTest, BackwardMoves) {
    fill(kSource, 6000, 2);
    state.rflags |= kFlagDf;
    set(kSource + 5999, kTarget + 5999, 6000);
    run_done({0xf3, 0xa4});
    for (uint64_t i = 0; i < 6000; ++i) ASSERT_EQ(byte(kTarget + i), byte(kSource + i));
    EXPECT_EQ(state.gpr[kRsi], kSource - 1);
}

TEST_F(StringsTest, StosOfEachSizeKeepsTheRestOfThePage) {
    const Bytes forms[] = {{0xf3, 0xaa}, {0xf3, 0x66, 0xab}, {0xf3, 0xab}, {0xf3, 0x48, 0xab}};
    for (unsigned log = 0; log < 4; ++log) {
        unsigned size = 1 << log;
        fill(kTarget, 3 * kPageSize, 0);
        Bytes before = get(kTargetFrames[0], kPageSize);
        state.gpr[kRax] = 0x1122334455667788;
        state.rip = kCode;
        set(0, kTarget + 4093, 5);
        run_done(forms[log]);
        for (unsigned i = 0; i < 5 * size; ++i)
            ASSERT_EQ(byte(kTarget + 4093 + i), static_cast<uint8_t>(0x1122334455667788 >> i % size * 8));
        EXPECT_EQ(byte(kTarget + 4092), before[4092]);
        EXPECT_EQ(state.gpr[kRdi], kTarget + 4093 + 5 * size);
    }
}

TEST_F(StringsTest, CountOfZeroDoesNothing) {
    set(0x900000, 0x900000, 0);
    state.rflags = 2 | kFlagZf;
    run_done({0xf3, 0xa4});
    state.rip = kCode;
    run_done({0xf3, 0xa6});
    EXPECT_EQ(state.rflags, 2 | kFlagZf);
}

TEST_F(StringsTest, LongMovesComeInPiecesThatEachCount) {
    // All pages are the same frame: 4 MiB of target cost one.
    for (uint64_t at = 0x1000000; at < 0x1400000; at += kPageSize) map(at, kTargetFrames[0], kKernelPage);
    set(0, 0x1000000, 0x200000);
    state.gpr[kRax] = 0xab;
    unsigned steps = 0;
    while (state.rip == kCode) {
        run_done({0xf3, 0xaa});
        ASSERT_LT(++steps, 100u);
    }
    EXPECT_EQ(steps, 8u);
    EXPECT_EQ(state.gpr[kRcx], 0u);
    EXPECT_EQ(state.icount, Icount(8));
}

TEST_F(StringsTest, UnderTfEachElementIsAPiece) {
    fill(kSource, 100, 1);
    state.rflags |= kFlagTf;
    set(kSource, kTarget, 3);
    run_done({0xf3, 0xa4});
    EXPECT_EQ(state.rip, kCode);
    EXPECT_EQ(state.gpr[kRcx], 2u);
    run_done({0xf3, 0xa4});
    run_done({0xf3, 0xa4});
    EXPECT_EQ(state.rip, kCode + 2);
}

TEST_F(StringsTest, CmpsStopsAtTheDifferenceWithItsFlags) {
    fill(kSource, 5000, 4);
    for (uint64_t i = 0; i < 5000; ++i) byte(kTarget + i) = byte(kSource + i);
    byte(kSource + 4500) = 0x10;
    byte(kTarget + 4500) = 0x20;
    set(kSource, kTarget, 5000);
    run_done({0xf3, 0xa6});
    EXPECT_EQ(state.gpr[kRcx], 499u);
    EXPECT_EQ(state.gpr[kRsi], kSource + 4501);
    EXPECT_EQ(state.rflags & kArithmeticFlags, kFlagCf | kFlagSf | kFlagPf) << "0x10 - 0x20 = 0xf0";
}

TEST_F(StringsTest, AFaultInScasKeepsTheFlags) {
    map(kTarget + kPageSize, 0, 0);
    state.gpr[kRax] = 1;
    state.rflags = 2 | kFlagCf | kFlagZf;
    set(0, kTarget, 10000);
    run_fault({0xf2, 0xae}, kPf, 0);
    EXPECT_EQ(state.rflags, 2 | kFlagCf | kFlagZf);
    EXPECT_EQ(state.gpr[kRcx], 10000 - kPageSize);
    EXPECT_EQ(state.gpr[kRdi], kTarget + kPageSize);
}

TEST_F(StringsTest, RepneScasFindsItsByte) {
    byte(kTarget + 4100) = 0x7f;
    state.gpr[kRax] = 0x7f;
    set(0, kTarget, ~uint64_t{0});
    run_done({0xf2, 0xae});
    EXPECT_EQ(state.gpr[kRdi], kTarget + 4101);
    EXPECT_TRUE(state.rflags & kFlagZf);
}

TEST_F(StringsTest, SegmentOverrideAndAddressSize) {
    fill(kSource, 64, 5);
    state.segments[kGs].base = kSource;
    set(8, 0xabc00000000 + kTarget, 0xfff00000002);
    run_done({0x65, 0x67, 0xf3, 0xa4});
    EXPECT_EQ(byte(kTarget), byte(kSource + 8));
    EXPECT_EQ(byte(kTarget + 1), byte(kSource + 9));
    EXPECT_EQ(state.gpr[kRcx], 0u);
    EXPECT_EQ(state.gpr[kRdi], kTarget + 2) << "32-bit registers clear the upper half";
    EXPECT_EQ(state.gpr[kRsi], 10u);
}

TEST_F(StringsTest, LodsReadsIntoTheAccumulator) {
    put64(kSourceFrames[0], 0x8877665544332211);
    state.gpr[kRax] = ~uint64_t{0};
    set(kSource, 0, 0);
    run_done({0xac});
    EXPECT_EQ(state.gpr[kRax], 0xffffffffffffff11);
    run_done({0xad});
    EXPECT_EQ(state.gpr[kRax], 0x55443322u);
    EXPECT_EQ(state.gpr[kRsi], kSource + 5);
}

TEST_F(StringsTest, MovesToDevicesGoElementByElement) {
    map(kTarget, 0xfe000000, kKernelPage);
    put64(kSourceFrames[0], 0x0807060504030201);
    set(kSource, kTarget, 2);
    run_done({0xf3, 0xa5});
    EXPECT_EQ(platform.mmio_writes,
              (std::vector<FakePlatform::Access>{{0xfe000000, 4, 0x04030201}, {0xfe000004, 4, 0x08070605}}));
}

TEST_F(StringsTest, WritesToCodePagesTellTheListener) {
    memory->set_code(GuestPhys(kTargetFrames[0]), true);
    MarksTold listener(*memory);
    state.gpr[kRax] = 0x5a;
    set(0, kTarget, 100);
    run_done({0xf3, 0xaa});
    EXPECT_EQ(listener.code_pages, std::vector{GuestPhys(kTargetFrames[0])});
    EXPECT_EQ(byte(kTarget + 99), 0x5a);
}

TEST_F(StringsTest, WritesToWatchedPagesTellTheWatcher) {
    WritesWatched watcher(*memory);
    state.gpr[kRax] = 0x5a;
    set(0, kTarget + kPageSize - 50, 100);
    run_done({0xf3, 0xaa});
    EXPECT_EQ(std::ranges::count(watcher.pages, GuestPhys(kTargetFrames[0])), 1);
    EXPECT_EQ(std::ranges::count(watcher.pages, GuestPhys(kTargetFrames[1])), 1);
    EXPECT_EQ(byte(kTarget + kPageSize + 49), 0x5a);
}

TEST_F(StringsTest, PortStrings) {
    set(kSource, kTarget, 3);
    state.gpr[kRdx] = 0x1f0;
    put64(kSourceFrames[0], 0x060504030201);
    run_done({0xf3, 0x66, 0x6f});  // rep outsw
    EXPECT_EQ(platform.port_writes,
              (std::vector<FakePlatform::Access>{{0x1f0, 2, 0x201}, {0x1f0, 2, 0x403}, {0x1f0, 2, 0x605}}));
    state.gpr[kRcx] = 2;
    run_done({0xf3, 0x6d});  // rep insd
    EXPECT_EQ(get64(kTargetFrames[0]), 0x1122334411223344u);
    EXPECT_EQ(state.gpr[kRdi], kTarget + 8);
}

/// Runs random string instructions beside a byte-by-byte model of a flat memory.
TEST_F(StringsTest, AgreesWithASimpleModel) {
    for (unsigned seed = 1; seed <= 400; ++seed) {
        std::mt19937_64 random(seed);
        unsigned size = 1 << random() % 4;
        bool backward = random() % 4 == 0, store = random() % 3 == 0;
        uint64_t count = random() % (random() % 2 ? 20 : 1000), span = 2 * kPageSize;
        uint64_t length = count * size;
        if (length + size > span) continue;
        std::vector<uint8_t> model(3 * kPageSize);
        for (uint64_t i = 0; i < model.size(); ++i)
            byte(kSource + i) = model[i] = static_cast<uint8_t>(random());
        uint64_t low_from = random() % (3 * kPageSize - length), low_to = random() % (3 * kPageSize - length);
        if (random() % 2) low_to = std::min(low_from + random() % 16, 3 * kPageSize - length);
        uint64_t first = backward && count ? (count - 1) * size : 0;
        uint64_t from = low_from + first, to = low_to + first;
        state.gpr[kRax] = random();
        state.rip = kCode;
        state.rflags = backward ? 2 | kFlagDf : 2;
        set(kSource + from, kSource + to, count);
        uint64_t step = backward ? -uint64_t{size} : size;
        for (uint64_t i = 0, f = from, t = to; i < count; ++i, f += step, t += step) {
            uint64_t value = state.gpr[kRax];
            if (!store) std::memcpy(&value, &model[f], size);
            std::memcpy(&model[t], &value, size);
        }
        Bytes code{0xf3};
        if (size == 2) code.push_back(0x66);
        if (size == 8) code.push_back(0x48);
        code.push_back(static_cast<uint8_t>((store ? 0xaa : 0xa4) + (size > 1)));
        run_done(code);
        for (uint64_t i = 0; i < model.size(); ++i)
            ASSERT_EQ(byte(kSource + i), model[i]) << "seed " << seed << " at " << i;
    }
}

}  // namespace
}  // namespace lockstep::cpu
