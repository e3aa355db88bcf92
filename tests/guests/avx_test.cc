// SPDX-License-Identifier: Apache-2.0
// AVX among translated code and the interpreter: where it faults, whose upper halves are whose, and that every stop
// finds the same state.
#include "cpu/save.h"
#include "kit/guest_test.h"

LOCKSTEP_GUEST(avx);
LOCKSTEP_GUEST_LABEL(avx_switched_off);
LOCKSTEP_GUEST_LABEL(avx_not_in_xcr0);
LOCKSTEP_GUEST_LABEL(gather_not_in_xcr0);
LOCKSTEP_GUEST_LABEL(avx_unavailable);
LOCKSTEP_GUEST_LABEL(avx_misaligned);

namespace lockstep::guests {
namespace {

class AvxTest : public GuestTest {
  protected:
    void SetUp() override {
        if (machine.cpu->model != x86::CpuModel::kV3) GTEST_SKIP() << "this host has no AVX2";
        load(LOCKSTEP_GUEST_CODE(avx));
    }
    /// All doublewords of the halves of a vector that the guest left at this offset.
    void expect_vector(uint64_t offset, uint32_t lower, uint32_t upper, const char* what) {
        for (unsigned i = 0; i < 8; ++i)
            EXPECT_EQ(machine.memory->read_number<uint32_t>(GuestPhys(kDataArea + offset + 4 * i)),
                      i < 4 ? lower : upper)
                << what << ", element " << i;
    }
};

TEST_P(AvxTest, UpperHalvesAreFilledClearedAndKept) {
    EXPECT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
    constexpr uint32_t kSum = 20 * 15;
    expect_vector(0x400, kSum, kSum, "whole sums");
    expect_vector(0x420, 2 * kSum, 0, "cleared by the narrow form");
    expect_vector(0x440, 2 * kSum, kSum, "kept by the legacy form");
    expect_vector(0x460, kSum, kSum, "a masked load");
    expect_vector(0x480, 0, 0, "a gather's mask");
    expect_vector(0x4a0, 2 * kSum, kSum, "a gather");
    expect_vector(0x4c0, 0, 0, "VZEROALL");
    expect_vector(0x4e0, kSum, kSum, "XRSTOR");
    expect_vector(0x500, kSum, 0, "VZEROUPPER");
    expect_vector(0x520, kSum, 0, "XRSTOR of a first state");
    expect_vector(0x540, kSum, kSum, "over two pages");
    expect_vector(0x560, 2 * kSum, 2 * kSum, "an operand over two pages");
}

TEST_P(AvxTest, FaultsWhereItIsOffUnavailableOrMisaligned) {
    machine.run_to_end();
    std::vector<Event> events = machine.events();
    ASSERT_EQ(events.size(), 5u);
    expect_event(events[0], cpu::kUd, 0, avx_switched_off, "#UD, no CR4.OSXSAVE");
    expect_event(events[1], cpu::kUd, 0, avx_not_in_xcr0, "#UD, not in XCR0");
    expect_event(events[2], cpu::kUd, 0, gather_not_in_xcr0, "#UD, not in XCR0, by the interpreter");
    expect_event(events[3], cpu::kNm, 0, avx_unavailable, "#NM, CR0.TS");
    expect_event(events[4], cpu::kGp, 0, avx_misaligned, "#GP, VMOVAPS");
}

TEST_P(AvxTest, EveryStopFindsTheStateOfSingleInstructions) {
    GuestMachine single(
        {"reference", {.block_limit = 1, .chaining = false, .jump_cache = false, .dead_flags = false}});
    single.load(LOCKSTEP_GUEST_CODE(avx));
    for (uint64_t stop = 1;; ++stop) {
        translate::VcpuExit exit = single.run(Icount(stop));
        load(LOCKSTEP_GUEST_CODE(avx));
        ASSERT_EQ(machine.run(Icount(stop)), exit) << "stop at " << stop;
        ASSERT_EQ(cpu::hash(machine.cpu->state), cpu::hash(single.cpu->state)) << "stop at " << stop;
        if (exit == translate::VcpuExit::kHalted) break;
        ASSERT_EQ(machine.run_to_end(), translate::VcpuExit::kHalted);
        expect_vector(0x440, 600, 300, "the same end");
    }
}

// A model without AVX lets nothing switch it on.
TEST(AvxOffTest, TheSecondLevelRefusesIt) {
    GuestMachine machine(kEngineConfigurations[0], x86::CpuModel::kV2);
    machine.load(LOCKSTEP_GUEST_CODE(avx));
    machine.run(Icount(1000));
    std::vector<Event> events = machine.events();
    ASSERT_GE(events.size(), 4u);
    EXPECT_EQ(events[2].vector, cpu::kUd);
    EXPECT_EQ(events[3].vector, cpu::kGp) << "XSETBV";
    EXPECT_EQ(machine.cpu->state.xcr0, 1u);
}

LOCKSTEP_IN_EVERY_CONFIGURATION(AvxTest);

}  // namespace
}  // namespace lockstep::guests
