// SPDX-License-Identifier: Apache-2.0
// Frames of exceptions and interrupts, IST, privilege changes, double and triple faults.
#include "cpu/exceptions.h"

#include "cpu_fixture.h"

namespace lockstep::cpu {
namespace {

using namespace x86;

class ExceptionsTest : public CpuTest {
  protected:
    /// The frame at rsp: rip, cs, rflags, rsp, ss.
    std::array<uint64_t, 5> frame(unsigned skip = 0) {
        std::array<uint64_t, 5> words;
        for (unsigned i = 0; i < 5; ++i) words[i] = get64(state.gpr[kRsp] + skip + i * 8);
        return words;
    }
};

TEST_F(ExceptionsTest, FaultInTheKernelPushesAnAlignedFrameWithRf) {
    state.gpr[kRsp] = kStack - 8;
    state.rflags = 2 | kFlagIf | kFlagTf;
    ASSERT_TRUE(deliver_exception(cpu, {kUd}));
    EXPECT_EQ(state.rip, handler(kUd));
    EXPECT_EQ(state.gpr[kRsp], kStack - 16 - 40);
    EXPECT_EQ(frame(), (std::array<uint64_t, 5>{kCode, kKernelCs, 2 | kFlagIf | kFlagTf | kFlagRf, kStack - 8,
                                                kKernelSs}));
    EXPECT_EQ(state.rflags, 2u);
    EXPECT_EQ(state.segments[kSs].selector, kKernelSs);
}

TEST_F(ExceptionsTest, ErrorCodeAndCr2OfAPageFaultFromUserMode) {
    enter_user();
    state.rflags = 0x202;
    ASSERT_TRUE(deliver_exception(cpu, {kPf, true, 6, 0x1234000}));
    EXPECT_EQ(state.cr2, 0x1234000u);
    EXPECT_EQ(state.cpl(), 0u);
    EXPECT_EQ(state.gpr[kRsp], kRsp0 - 48);
    EXPECT_EQ(get64(state.gpr[kRsp]), 6u);
    EXPECT_EQ(frame(8), (std::array<uint64_t, 5>{kUserCode, kUserCs, 0x202 | kFlagRf, kUserStack, kUserSs}));
    EXPECT_EQ(state.segments[kSs].selector, 0) << "SS is null after a change of privilege";
    EXPECT_EQ(state.segments[kCs].selector, kKernelCs);
}

TEST_F(ExceptionsTest, IstReplacesTheStackWithoutAChangeOfPrivilege) {
    set_gate(kDf, make_gate(handler(kDf), kKernelCs, 1, kTypeInterruptGate, 0));
    ASSERT_TRUE(deliver_exception(cpu, {kDf, true, 0}));
    EXPECT_EQ(state.gpr[kRsp], kIstStack - 48);
    EXPECT_EQ(frame(8)[3], kStack);
    EXPECT_EQ(state.segments[kSs].selector, kKernelSs);
}

TEST_F(ExceptionsTest, TrapGatesLeaveIfAndTrapsDoNotSetRf) {
    set_gate(kDb, make_gate(handler(kDb), kKernelCs, 0, kTypeTrapGate, 0));
    state.rflags = 2 | kFlagIf | kFlagNt;
    ASSERT_TRUE(deliver_exception(cpu, {kDb}));
    EXPECT_EQ(frame()[2], 2 | kFlagIf | kFlagNt);
    EXPECT_EQ(state.rflags, 2 | kFlagIf);
}

TEST_F(ExceptionsTest, InterruptWakesTheProcessor) {
    state.halted = 1;
    state.interrupt_shadow = 1;
    state.rflags = 0x202;
    ASSERT_TRUE(deliver_interrupt(cpu, 0x41));
    EXPECT_EQ(state.halted, 0);
    EXPECT_EQ(state.interrupt_shadow, 0);
    EXPECT_EQ(state.rip, handler(0x41));
    EXPECT_EQ(frame()[2], 0x202u);
}

TEST_F(ExceptionsTest, AnAbsentGateOfAnInterruptRaisesNpWithTheExternalBit) {
    Gate absent = make_gate(handler(0x41), kKernelCs, 0, kTypeInterruptGate, 0);
    absent.low &= ~(uint64_t{1} << 47);
    set_gate(0x41, absent);
    ASSERT_TRUE(deliver_interrupt(cpu, 0x41));
    EXPECT_EQ(state.rip, handler(kNp));
    EXPECT_EQ(get64(state.gpr[kRsp]), 0x41u * 8 + 3);
}

TEST_F(ExceptionsTest, AContributoryPairMakesADoubleFault) {
    set_gate(kGp,
             make_gate(handler(kGp), kKernelSs, 0, kTypeInterruptGate, 0));  // not a code segment: #GP again
    ASSERT_TRUE(deliver_exception(cpu, {kGp, true, 8}));
    EXPECT_EQ(state.rip, handler(kDf));
    EXPECT_EQ(get64(state.gpr[kRsp]), 0u);
}

TEST_F(ExceptionsTest, ABenignFirstExceptionMakesNone) {
    set_gate(kUd, make_gate(handler(kUd), kKernelSs, 0, kTypeInterruptGate, 0));
    ASSERT_TRUE(deliver_exception(cpu, {kUd}));
    EXPECT_EQ(state.rip, handler(kGp));
    EXPECT_EQ(get64(state.gpr[kRsp]), kKernelSs | 1) << "the selector, raised by an event of the processor";
}

TEST_F(ExceptionsTest, TheGatesCodeSegmentIsOf64BitCodeAndPresent) {
    constexpr uint16_t kOther = 0x70;
    struct {
        uint16_t selector, attributes;
        uint8_t vector;
    } cases[] = {{kOther, kFlatCode32, kGp},
                 {kOther, kFlatCode64 | kAttributeBig, kGp},
                 {kOther, with_dpl(kFlatCode64, 3), kGp},
                 {kOther, kFlatCode64 & ~kAttributePresent, kNp},
                 {0, kFlatCode64, kGp}};
    for (const auto& each : cases) {
        enter_kernel();
        set_descriptor(kOther, make_descriptor(0, ~0u, each.attributes));
        set_gate(0x41, make_gate(handler(0x41), each.selector, 0, kTypeInterruptGate, 0));
        ASSERT_TRUE(deliver_interrupt(cpu, 0x41));
        EXPECT_EQ(state.rip, handler(each.vector)) << each.attributes;
        EXPECT_EQ(get64(state.gpr[kRsp]), each.selector | 1u) << each.attributes;
    }
}

TEST_F(ExceptionsTest, APageFaultOnTheStackOfAPageFaultIsADoubleFaultOnItsIst) {
    set_gate(kDf, make_gate(handler(kDf), kKernelCs, 1, kTypeInterruptGate, 0));
    state.gpr[kRsp] = 0x900000;  // not mapped
    ASSERT_TRUE(deliver_exception(cpu, {kPf, true, 2, 0x900000}));
    EXPECT_EQ(state.rip, handler(kDf));
    EXPECT_EQ(state.gpr[kRsp], kIstStack - 48);
    EXPECT_EQ(state.cr2, 0x8ffff8u) << "of the second fault: by it a guest sees that its stack has run over";
}

TEST_F(ExceptionsTest, AFrameAcrossPagesFaultsAtItsHighestPushThatCannotBeMade) {
    map(0x900000, 0x3000, kKernelPage);
    set_gate(kDf, make_gate(handler(kDf), kKernelCs, 1, kTypeInterruptGate, 0));
    state.gpr[kRsp] = 0x900010;  // two pushes fit
    ASSERT_TRUE(deliver_exception(cpu, {kPf, true, 2, 0x1234}));
    EXPECT_EQ(state.rip, handler(kDf));
    EXPECT_EQ(state.cr2, 0x8ffff8u);
    EXPECT_EQ(get64(0x3008), 0u) << "nothing was pushed";
}

TEST_F(ExceptionsTest, WithoutAnIdtItIsATripleFault) {
    state.idtr.limit = 0;
    CpuState before = state;
    EXPECT_FALSE(deliver_exception(cpu, {kUd}));
    EXPECT_EQ(state.rip, before.rip);
}

TEST_F(ExceptionsTest, ANonCanonicalStackRaisesSs) {
    enter_user();
    put64(kTss + kTssRsp0, 0x800000000000);
    set_gate(kSs_, make_gate(handler(kSs_), kKernelCs, 1, kTypeInterruptGate, 0));
    ASSERT_TRUE(deliver_exception(cpu, {kUd}));
    EXPECT_EQ(state.rip, handler(kSs_));
    EXPECT_EQ(get64(state.gpr[kRsp]), 1u);
}

TEST_F(ExceptionsTest, IntChecksTheGatesDpl) {
    enter_user();
    run_fault({0xcd, 0x80}, kGp, 0x80 * 8 + 2);
    set_gate(0x80, make_gate(handler(0x80), kKernelCs, 0, kTypeTrapGate, 3));
    run_done({0xcd, 0x80});
    EXPECT_EQ(state.rip, handler(0x80));
    EXPECT_EQ(frame()[0], kUserCode + 2);
    EXPECT_EQ(frame()[3], kUserStack);
}

TEST_F(ExceptionsTest, Int3AndIcebp) {
    enter_user();
    run_fault({0xcc}, kGp, kBp * 8 + 2);
    set_gate(kBp, make_gate(handler(kBp), kKernelCs, 0, kTypeInterruptGate, 3));
    run_done({0xcc});
    EXPECT_EQ(state.rip, handler(kBp));
    EXPECT_EQ(frame()[0], kUserCode + 1);
    enter_user();
    run_done({0xf1});
    EXPECT_EQ(state.rip, handler(kDb)) << "no check of the DPL";
}

TEST_F(ExceptionsTest, AFaultMidwayThroughASoftwareInterruptChangesNothing) {
    enter_user();
    set_gate(0x80, make_gate(handler(0x80), kKernelCs, 0, kTypeTrapGate, 3));
    put64(kTss + kTssRsp0, 0x900000);  // not mapped
    run_fault({0xcd, 0x80}, kPf, kPfWrite);
    EXPECT_EQ(state.cpl(), 3u);
    EXPECT_EQ(state.gpr[kRsp], kUserStack);
}

TEST_F(ExceptionsTest, CausesOfDebugExceptionsAreNotedInDr6) {
    EXPECT_EQ(debug_exception(state, kDr6Bs | 2).vector, kDb);
    EXPECT_EQ(state.dr[6], kDr6Fixed | kDr6Bs | 2);
    debug_exception(state, 1);
    EXPECT_EQ(state.dr[6], kDr6Fixed | kDr6Bs | 1) << "only breakpoints are those of the last one";
}

}  // namespace
}  // namespace lockstep::cpu
