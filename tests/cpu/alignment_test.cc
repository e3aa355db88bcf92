// SPDX-License-Identifier: Apache-2.0
// Alignment checks of the interpreter's accesses. Those of the rest, and the sizes by which silicon goes, are
// compared with the bare CPU (tests/instructions).
#include "cpu/alignment.h"

#include "cpu_fixture.h"

namespace lockstep::cpu {
namespace {

class AlignmentTest : public CpuTest {
  protected:
    AlignmentTest() {
        enter_user();
        state.cr0 |= x86::kCr0Am;
        state.rflags = 0x202 | kFlagAc;
        state.gpr[kRsi] = kUserData;
        state.gpr[kRdi] = kUserData + 0x102;
    }
    const Bytes movsw{0x66, 0xa5}, movsd{0xa5}, movsb{0xa4}, iretq{0x48, 0xcf}, iretd{0xcf};
};

TEST_F(AlignmentTest, GoBySize) {
    run_fault(movsd, kAc, 0);
    EXPECT_EQ(state.gpr[kRsi], kUserData);
    run_done(movsw);
    state.gpr[kRdi] = kUserData + 0x101;
    run_done(movsb);
}

TEST_F(AlignmentTest, AreOffWithoutAmAcOrUserMode) {
    state.cr0 &= ~x86::kCr0Am;
    run_done(movsd);
    state.cr0 |= x86::kCr0Am;
    state.rflags &= ~kFlagAc;
    run_done(movsd);
    state.rflags |= kFlagAc;
    enter_kernel();
    state.gpr[kRsi] = 0x9001;
    state.gpr[kRdi] = 0xa002;
    run_done(movsd);
}

TEST_F(AlignmentTest, ComeBeforeThePageAndBehindCanonicalAddresses) {
    state.gpr[kRsi] = 0x900001;  // not mapped
    run_fault(movsd, kAc, 0);
    state.gpr[kRsi] = 0x800000000001;
    run_fault(movsd, kGp, 0);
}

TEST_F(AlignmentTest, LookAtEachElementOfAString) {
    state.gpr[kRdi] = kUserData + 0x100;
    state.gpr[kRcx] = 4;
    run_done({0xf3, 0xa5});
    state.gpr[kRdi] = kUserData + 0x102;
    state.gpr[kRcx] = 4;
    run_fault({0xf3, 0xa5}, kAc, 0);
    EXPECT_EQ(state.gpr[kRcx], 4u);
}

TEST_F(AlignmentTest, OfFramesGoByTheirNumbers) {
    state.gpr[kRsp] = kUserStack - 0x104;
    run_fault(iretq, kAc, 0);
    run_fault(iretd, kGp);  // its quarter is aligned; what lies there is no selector
    state.gpr[kRsp] = kUserStack - 0x102;
    run_fault(iretd, kAc, 0);
}

TEST_F(AlignmentTest, OfTheKernelsOwnAccessesAreNone) {
    EXPECT_TRUE(deliver_exception(cpu, {.vector = kBp}));  // reads the stack from the TSS, at an odd quarter
    EXPECT_EQ(state.cpl(), 0u);
}

}  // namespace
}  // namespace lockstep::cpu
