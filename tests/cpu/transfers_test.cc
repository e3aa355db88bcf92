// SPDX-License-Identifier: Apache-2.0
// SYSCALL, SYSRET, SYSENTER, SYSEXIT, IRET, far transfers, PUSHF, POPF, CLI, STI.
#include "cpu_fixture.h"
#include "x86/msr.h"

namespace lockstep::cpu {
namespace {

using namespace x86;

class TransfersTest : public CpuTest {
  protected:
    TransfersTest() {
        state.star = uint64_t{kUser32Cs} << 48 | uint64_t{kKernelCs} << 32;
        state.lstar = kHandlers;
        state.sfmask = kFlagIf | kFlagTf | kFlagDf;
    }
    void push(std::initializer_list<uint64_t> words, unsigned size = 8) {
        uint64_t at = state.gpr[kRsp] -= words.size() * size;
        for (uint64_t word : words) {
            std::memcpy(memory->host(physical(at)), &word, size);
            at += size;
        }
    }
    const Bytes iretq{0x48, 0xcf}, sysretq{0x48, 0x0f, 0x07}, syscall_code{0x0f, 0x05};
};

TEST_F(TransfersTest, SyscallAndSysret) {
    enter_user();
    state.rflags = 0x246 | kFlagDf;
    run_done(syscall_code);
    EXPECT_EQ(state.rip, kHandlers);
    EXPECT_EQ(state.gpr[kRcx], kUserCode + 2);
    EXPECT_EQ(state.gpr[kR11], 0x246 | kFlagDf);
    EXPECT_EQ(state.rflags, 0x46u);
    EXPECT_EQ(state.cpl(), 0u);
    EXPECT_EQ(state.segments[kCs].selector, kKernelCs);
    EXPECT_EQ(state.segments[kSs].selector, kKernelSs);
    EXPECT_EQ(state.gpr[kRsp], kUserStack);
    EXPECT_TRUE(state.code64());

    run_done(sysretq);
    EXPECT_EQ(state.rip, kUserCode + 2);
    EXPECT_EQ(state.rflags, 0x246 | kFlagDf);
    EXPECT_EQ(state.cpl(), 3u);
    EXPECT_EQ(state.segments[kCs].selector, kUserCs);
    EXPECT_EQ(state.segments[kSs].selector, kUserSs);
}

TEST_F(TransfersTest, SyscallNeedsSceAndSysretPrivilegeAndACanonicalTarget) {
    enter_user();
    run_fault(sysretq, kGp);
    state.efer &= ~kEferSce;
    run_fault(syscall_code, kUd);
    state.efer |= kEferSce;
    enter_kernel();
    state.gpr[kRcx] = 0x800000000000;
    run_fault(sysretq, kGp);
}

TEST_F(TransfersTest, SysenterAndSysexit) {
    state.sysenter_cs = kKernelCs;
    state.sysenter_eip = kHandlers;
    state.sysenter_esp = kRsp0;
    set_descriptor(kKernelCs + 32, make_descriptor(0, ~0u, with_dpl(kFlatCode64, 3)));
    enter_user();
    state.rflags = 0x202;
    run_done({0x0f, 0x34});
    EXPECT_EQ(state.rip, kHandlers);
    EXPECT_EQ(state.gpr[kRsp], kRsp0);
    EXPECT_EQ(state.rflags, 2u);
    EXPECT_EQ(state.cpl(), 0u);
    state.gpr[kRdx] = kUserCode;
    state.gpr[kRcx] = kUserStack;
    run_done({0x48, 0x0f, 0x35});
    EXPECT_EQ(state.rip, kUserCode);
    EXPECT_EQ(state.gpr[kRsp], kUserStack);
    EXPECT_EQ(state.segments[kCs].selector, kKernelCs + 35);
    EXPECT_EQ(state.segments[kSs].selector, kKernelCs + 43);
    state.sysenter_cs = 0;
    run_fault({0x0f, 0x34}, kGp);
}

TEST_F(TransfersTest, IretToUserMode) {
    state.segments[kDs] = {kKernelSs, kFlatData, 0xffffffff, 0};
    state.segments[kGs] = {0, 0, 0, 0x1234};
    push({kUserCode + 4, kUserCs, 0x202 | kFlagRf | kFlagVif, kUserStack - 8, kUserSs});
    run_done(iretq);
    EXPECT_EQ(state.rip, kUserCode + 4);
    EXPECT_EQ(state.cpl(), 3u);
    EXPECT_EQ(state.rflags, 0x202u) << "RF isn't kept, VIF can't be set";
    EXPECT_EQ(state.gpr[kRsp], kUserStack - 8);
    EXPECT_EQ(state.segments[kDs].selector, 0) << "the kernel's data segment is taken away";
    EXPECT_EQ(state.segments[kGs].base, 0x1234u) << "a base under a null selector stays";
}

TEST_F(TransfersTest, IretWithinTheKernelLoadsTheStackToo) {
    push({kHandlers, kKernelCs, 2, 0x18008, 0});
    run_done(iretq);
    EXPECT_EQ(state.rip, kHandlers);
    EXPECT_EQ(state.gpr[kRsp], 0x18008u);
    EXPECT_EQ(state.segments[kSs].selector, 0) << "null is allowed below level 3";
    EXPECT_EQ(state.cpl(), 0u);
}

TEST_F(TransfersTest, IretOfNarrowOperandsReadsNarrowFrames) {
    push({kHandlers, kKernelCs, 0x3, 0x18008, kKernelSs}, 4);
    run_done({0xcf});
    EXPECT_EQ(state.rip, kHandlers);
    EXPECT_EQ(state.gpr[kRsp], 0x18008u);
    EXPECT_EQ(state.rflags, 3u);
    state.rflags |= kFlagAc;
    push({0x8000, kKernelCs, 0x2, 0x7008, kKernelSs}, 2);
    run_done({0x66, 0xcf});
    EXPECT_EQ(state.rip, 0x8000u);
    EXPECT_EQ(state.gpr[kRsp], 0x7008u);
    EXPECT_EQ(state.rflags, 2 | kFlagAc) << "16 bits of flags are loaded";
}

TEST_F(TransfersTest, IretChecks) {
    push({0x800000000000, kUserCs, 2, kUserStack, kUserSs});
    run_fault(iretq, kGp);
    push({kUserCode, 0, 2, kUserStack, kUserSs});
    run_fault(iretq, kGp);
    push({kUserCode, kUserCs, 2, kUserStack, 0});
    run_fault(iretq, kGp);
    push({kUserCode, kUserCs, 2, kUserStack, kKernelSs});
    run_fault(iretq, kGp, kKernelSs);
    push({kUserCode, kUserSs, 2, kUserStack, kUserSs});
    run_fault(iretq, kGp, kUserSs & ~3u);
    push({kUserCode, 0x83, 2, kUserStack, kUserSs});
    run_fault(iretq, kGp, 0x80);
    push({kCode, kKernelCs, 2, kStack, kAbsentData});
    run_fault(iretq, kSs_, kAbsentData);
    state.rflags |= kFlagNt;
    run_fault(iretq, kGp);
    state.rflags &= ~kFlagNt;
    enter_user();
    push({kCode, kKernelCs, 2, kStack, kKernelSs});
    run_fault(iretq, kGp, kKernelCs);
}

TEST_F(TransfersTest, IretFromUserModeKeepsIfAndIopl) {
    enter_user();
    state.rflags = 0x202;
    push({kUserCode + 16, kUserCs, 2 | kFlagIopl | kFlagCf, kUserStack - 64, kUserSs});
    run_done(iretq);
    EXPECT_EQ(state.rflags, 0x203u);
}

TEST_F(TransfersTest, IntoCodeOf32BitsAndBack) {
    state.gpr[kRbx] = state.gpr[kR9] = 0x1122334455667788;
    push({kUserCode, kUser32Cs, 2, kUserStack, kUserSs});
    run_done(iretq);
    EXPECT_EQ(state.code_width(), CodeWidth::k32);
    EXPECT_EQ(state.gpr[kRbx], 0x55667788u) << "no upper half outside 64-bit code";
    EXPECT_EQ(state.gpr[kR9], 0x1122334455667788u);
    run_done({0x6a, 0xff});  // push -1: four bytes
    EXPECT_EQ(state.gpr[kRsp], kUserStack - 4);
    run_fault({0x0f, 0x05}, kUd);  // SYSCALL, on a CPU of Intel's
    ASSERT_TRUE(deliver_exception(cpu, exception));
    EXPECT_EQ(state.rip, handler(kUd));
    EXPECT_TRUE(state.code64());
}

TEST_F(TransfersTest, FarReturnAndFarJump) {
    push({kHandlers, kKernelCs});
    run_done({0x48, 0xcb});
    EXPECT_EQ(state.rip, kHandlers);
    EXPECT_EQ(state.gpr[kRsp], kStack);

    state.rip = kCode;
    put64(0x9000, kHandlers + 64);
    put64(0x9008, kKernelCs);
    state.gpr[kRbx] = 0x9000;
    run_done({0x48, 0xff, 0x2b});  // jmp far [rbx]
    EXPECT_EQ(state.rip, kHandlers + 64);
    state.rip = kCode;
    put64(0x9008, kUserCs);
    run_fault({0x48, 0xff, 0x2b}, kGp, kUserCs & ~3u);
}

TEST_F(TransfersTest, FarCallAndFarReturnToUserMode) {
    put64(0x9000, kHandlers);
    put64(0x9008, kKernelCs);
    state.gpr[kRbx] = 0x9000;
    run_done({0x48, 0xff, 0x1b});  // call far [rbx]
    EXPECT_EQ(state.rip, kHandlers);
    EXPECT_EQ(get64(state.gpr[kRsp]), kCode + 3);
    EXPECT_EQ(get64(state.gpr[kRsp] + 8), kKernelCs);
    state.gpr[kRsp] = kStack;
    push({kUserCode, kUserCs, 0, kUserStack - 32, kUserSs});
    run_done({0x48, 0xca, 0x08, 0x00});  // retf 8
    EXPECT_EQ(state.rip, kUserCode);
    EXPECT_EQ(state.cpl(), 3u);
    EXPECT_EQ(state.gpr[kRsp], kUserStack - 32 + 8);
}

TEST_F(TransfersTest, PushfAndPopfMasks) {
    state.rflags = 0x202;
    run_done({0x9c});
    EXPECT_EQ(get64(state.gpr[kRsp]), 0x202u);
    put64(state.gpr[kRsp], ~uint64_t{0});
    run_done({0x9d});
    EXPECT_EQ(state.rflags,
              2 | kArithmeticFlags | kFlagTf | kFlagIf | kFlagDf | kFlagIopl | kFlagNt | kFlagAc | kFlagId);
    EXPECT_EQ(state.gpr[kRsp], kStack);

    state.rflags = 2;
    enter_user();
    push({~uint64_t{0}});
    run_done({0x9d});
    EXPECT_EQ(state.rflags, 2 | kArithmeticFlags | kFlagTf | kFlagDf | kFlagNt | kFlagAc | kFlagId);
    state.rflags = 2;
    push({0xffff}, 2);
    run_done({0x66, 0x9d});
    EXPECT_FALSE(state.rflags & (kFlagAc | kFlagId));
    EXPECT_EQ(state.gpr[kRsp], kUserStack);
}

TEST_F(TransfersTest, PushfFaultsAsAStackAccess) {
    state.gpr[kRsp] = 0x800000001000;
    run_fault({0x9c}, kSs_);
    state.gpr[kRsp] = 0x900008;
    run_fault({0x9c}, kPf, kPfWrite);
    EXPECT_EQ(state.gpr[kRsp], 0x900008u);
}

TEST_F(TransfersTest, StiCastsAShadowOverOneInstruction) {
    run_done({0xfb});
    EXPECT_EQ(state.interrupt_shadow, 1);
    EXPECT_TRUE(state.rflags & kFlagIf);
    run_done({0xfb});
    EXPECT_EQ(state.interrupt_shadow, 0) << "interrupts were on already";
    run_done({0xfa});
    EXPECT_FALSE(state.rflags & kFlagIf);
    enter_user();
    run_fault({0xfa}, kGp);
    run_fault({0xfb}, kGp);
    state.rflags |= kFlagIopl;
    run_done({0xfb});
}

TEST_F(TransfersTest, FaultsKeepTheShadow) {
    state.interrupt_shadow = 1;
    run_fault({0x0f, 0x0b}, kUd);
    EXPECT_EQ(state.interrupt_shadow, 1);
    run_done({0xfc});
    EXPECT_EQ(state.interrupt_shadow, 0);
}

TEST_F(TransfersTest, AnInstructionAcrossPagesFetchesBoth) {
    map(kUserCode + kPageSize, 0x205000, kUserPage);
    enter_user();
    state.rip = kUserCode + kPageSize - 1;
    put(0x200fff, {0x0f});
    put(0x205000, {0xa2});  // cpuid
    ASSERT_EQ(interpret(cpu, exception), StepResult::kDone);
    EXPECT_EQ(state.rip, kUserCode + kPageSize + 1);
    map(kUserCode + kPageSize, 0, 0);
    cpu.mmu.clear();
    state.rip = kUserCode + kPageSize - 1;
    ASSERT_EQ(interpret(cpu, exception), StepResult::kFault);
    EXPECT_EQ(exception.cr2, kUserCode + kPageSize);
    EXPECT_EQ(exception.error_code, kPfUser | kPfFetch);
}

TEST_F(TransfersTest, TheDecodeCacheSeesChangedCode) {
    run_done({0xfc});  // cld
    state.rip = kCode;
    run_done({0xfd});  // std, at the same address
    EXPECT_TRUE(state.rflags & kFlagDf);
}

TEST_F(TransfersTest, OrdinaryInstructionsAreNotTheInterpreters) {
    EXPECT_EQ(run({0x48, 0x89, 0xc3}), StepResult::kUnsupported);        // mov rbx, rax
    EXPECT_EQ(run({0xf2, 0x0f, 0x10, 0xc1}), StepResult::kUnsupported);  // movsd xmm0, xmm1
    EXPECT_EQ(run({0xff, 0xe0}), StepResult::kUnsupported);              // jmp rax
    EXPECT_EQ(run({0x01, 0xd8}), StepResult::kUnsupported);              // add eax, ebx
    EXPECT_EQ(state.icount, Icount(0));
}

}  // namespace
}  // namespace lockstep::cpu
