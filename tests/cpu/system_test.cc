// SPDX-License-Identifier: Apache-2.0
// Control and debug registers, MSRs, CPUID, time, ports, HLT and the rest of the privileged instructions.
#include "cpu_fixture.h"
#include "x86/cpuid.h"
#include "x86/msr.h"

namespace lockstep::cpu {
namespace {

using namespace x86;

class SystemTest : public CpuTest {
  protected:
    void set_msr_registers(uint32_t number, uint64_t value) {
        state.rip = kCode;
        state.gpr[kRcx] = number;
        state.gpr[kRax] = static_cast<uint32_t>(value);
        state.gpr[kRdx] = value >> 32;
    }
    void write_ok(uint32_t number, uint64_t value) {
        set_msr_registers(number, value);
        run_done({0x0f, 0x30});
    }
    void write_refused(uint32_t number, uint64_t value) {
        set_msr_registers(number, value);
        run_fault({0x0f, 0x30}, kGp);
    }
    uint64_t read_ok(uint32_t number) {
        set_msr_registers(number, 0);
        run_done({0x0f, 0x32});
        return state.gpr[kRdx] << 32 | state.gpr[kRax];
    }
    const Bytes to_cr0{0x0f, 0x22, 0xc0}, to_cr3{0x0f, 0x22, 0xd8}, to_cr4{0x0f, 0x22, 0xe0},
        to_cr8{0x44, 0x0f, 0x22, 0xc0};
};

TEST_F(SystemTest, PrivilegedInstructionsNeedLevelZero) {
    enter_user();
    const Bytes privileged[] = {{0xf4},
                                {0x0f, 0x06},
                                {0x0f, 0x30},
                                {0x0f, 0x32},
                                {0x0f, 0x20, 0xc0},
                                {0x0f, 0x22, 0xd8},
                                {0x0f, 0x23, 0xf8},
                                {0x0f, 0x01, 0x3b},
                                {0x0f, 0x01, 0xf8},
                                {0x0f, 0x09},
                                {0x0f, 0x08},
                                {0x0f, 0x00, 0xd8},
                                {0x0f, 0x01, 0x13},
                                {0x0f, 0x01, 0xf0}};
    for (const Bytes& code : privileged) run_fault(code, kGp);
}

TEST_F(SystemTest, HiddenInstructionsAreUndefined) {
    state.cr4 |= kCr4Osxsave;
    const Bytes hidden[] = {{0x0f, 0xc7, 0xf0}, {0x0f, 0xc7, 0xf8},       {0x0f, 0xc7, 0x20},
                            {0x0f, 0x01, 0xc8}, {0x0f, 0x01, 0xc9},       {0x0f, 0x01, 0xca},
                            {0x0f, 0xae, 0x30}, {0xf3, 0x0f, 0xc7, 0xf8}, {0x0f, 0xc7, 0x28},
                            {0x0f, 0xc7, 0x18}, {0x0f, 0x01, 0xc1},       {0x66, 0x0f, 0xae, 0x38},
                            {0x0f, 0x0b}};
    for (const Bytes& code : hidden) run_fault(code, kUd);
}

TEST_F(SystemTest, Cr0) {
    state.gpr[kRax] = (state.cr0 | kCr0Ts | kCr0Mp) & ~kCr0Et;
    run_done(to_cr0);
    EXPECT_TRUE(state.cr0 & kCr0Ts && state.cr0 & kCr0Et);
    run_done({0x0f, 0x06});  // clts
    EXPECT_FALSE(state.cr0 & kCr0Ts);
    for (uint64_t bad :
         {state.cr0 & ~kCr0Pg, state.cr0 & ~kCr0Pe, state.cr0 | kCr0Nw, state.cr0 | uint64_t{1} << 32}) {
        state.gpr[kRax] = bad;
        run_fault(to_cr0, kGp);
    }
    state.gpr[kRax] = 0xe;
    run_done({0x0f, 0x01, 0xf0});  // lmsw ax
    EXPECT_EQ(state.cr0 & 0xf, 0xfu) << "PE stays";
    run_done({0x0f, 0x01, 0xe3});  // smsw ebx
    EXPECT_EQ(state.gpr[kRbx], state.cr0);
}

TEST_F(SystemTest, ChangingWpFlushesTranslations) {
    run_done({0xfc});
    ASSERT_TRUE(cpu.mmu.cached(GuestVirt(kCode)));
    state.gpr[kRax] = state.cr0 & ~kCr0Wp;
    run_done(to_cr0);
    EXPECT_FALSE(cpu.mmu.cached(GuestVirt(kCode)));
}

TEST_F(SystemTest, Cr3AndPcids) {
    uint64_t tables = state.cr3;
    state.gpr[kRax] = tables | kCr3Keep;
    run_fault(to_cr3, kGp);
    state.gpr[kRax] = tables | uint64_t{1} << kPhysicalBits;
    run_fault(to_cr3, kGp);
    state.gpr[kRax] = state.cr4 | kCr4Pcide;
    run_done(to_cr4);
    state.gpr[kRax] = tables | 5 | kCr3Keep;
    run_done(to_cr3);
    EXPECT_EQ(state.cr3, tables | 5);
    run_done({0x0f, 0x20, 0xd9});  // mov rcx, cr3
    EXPECT_EQ(state.gpr[kRcx], tables | 5);
}

TEST_F(SystemTest, Cr4) {
    for (uint64_t bad : {state.cr4 & ~kCr4Pae, state.cr4 | 1 << 20, state.cr4 | 1 << 21}) {
        state.gpr[kRax] = bad;
        run_fault(to_cr4, kGp);
    }
    cpu.mmu.load_cr3(state.cr3 | 8, false);
    state.gpr[kRax] = state.cr4 | kCr4Pcide;
    run_fault(to_cr4, kGp);
}

TEST_F(SystemTest, Cr2AndCr8) {
    state.gpr[kRax] = 0x123456789abcdef0;
    run_done({0x0f, 0x22, 0xd0});
    EXPECT_EQ(state.cr2, 0x123456789abcdef0u);
    run_fault(to_cr8, kGp);
    state.gpr[kRax] = 7;
    run_done(to_cr8);
    EXPECT_EQ(platform.priority, 7u);
    EXPECT_EQ(run({0x0f, 0x20, 0xc8}), StepResult::kUnsupported) << "there is no CR1";
}

TEST_F(SystemTest, DebugRegisters) {
    state.gpr[kRax] = 0xffffffff;
    run_done({0x0f, 0x23, 0xf0});  // mov dr6, rax
    EXPECT_EQ(state.dr[6], 0xffffefffu);
    run_done({0x0f, 0x23, 0xf8});  // mov dr7, rax
    EXPECT_EQ(state.dr[7], 0xffff27ffu);
    run_fault({0x0f, 0x21, 0xc1}, kDb);
    EXPECT_TRUE(state.dr[6] & kDr6Bd);
    state.dr[7] = kDr7Fixed;
    run_done({0x0f, 0x21, 0xe1});  // mov rcx, dr4: an alias of dr6
    EXPECT_EQ(state.gpr[kRcx], state.dr[6]);
    state.cr4 |= kCr4De;
    run_fault({0x0f, 0x21, 0xe1}, kUd);
    state.gpr[kRax] = uint64_t{1} << 32;
    run_fault({0x0f, 0x23, 0xf8}, kGp);
}

TEST_F(SystemTest, MsrsOfTheState) {
    write_ok(kMsrLstar, 0xffffffff81000000);
    EXPECT_EQ(state.lstar, 0xffffffff81000000u);
    EXPECT_EQ(read_ok(kMsrLstar), 0xffffffff81000000u);
    write_ok(kMsrGsBase, 0xffff888000000000);
    EXPECT_EQ(state.segments[kGs].base, 0xffff888000000000u);
    write_ok(kMsrTscAux, 3);
    write_ok(kMsrSpecCtrl, 1);
    write_ok(kMsrPredCmd, 1);
    write_ok(kMsrPat, 0x0407050600070106);
    EXPECT_EQ(state.pat, 0x0407050600070106u);
    EXPECT_EQ(read_ok(kMsrArchCapabilities), kArchCapabilities);
    EXPECT_EQ(read_ok(kMsrMtrrCap), 0u);
    EXPECT_EQ(read_ok(kMsrMtrrDefType), 0x806u);
    EXPECT_EQ(read_ok(kMsrTscAdjust), 0u);
}

TEST_F(SystemTest, MsrsThatRefuse) {
    write_refused(kMsrLstar, 0x800000000000);
    write_refused(kMsrFsBase, 0x800000000000);
    write_refused(kMsrTscAux, uint64_t{1} << 32);
    write_refused(kMsrSpecCtrl, 8);
    write_refused(kMsrPredCmd, 2);
    write_refused(kMsrPat, 0x02);
    write_refused(kMsrArchCapabilities, 0);
    write_refused(kMsrTscAdjust, 1);
    write_refused(0x12345, 0);
    set_msr_registers(0x12345, 0);
    run_fault({0x0f, 0x32}, kGp);
    set_msr_registers(0x801, 0);  // the platform has none
    run_fault({0x0f, 0x32}, kGp);
}

TEST_F(SystemTest, Efer) {
    write_refused(kMsrEfer, state.efer | 1 << 14);
    write_refused(kMsrEfer, state.efer & ~kEferLme);
    write_ok(kMsrEfer, kEferLme | kEferNxe);
    EXPECT_EQ(state.efer, kEferLme | kEferLma | kEferNxe) << "LMA can't be written";
    write_ok(kMsrEfer, kEferLme);
    EXPECT_FALSE(cpu.mmu.cached(GuestVirt(kCode))) << "a change of NXE flushes";
}

TEST_F(SystemTest, PlatformMsrs) {
    EXPECT_EQ(read_ok(kMsrTsc), 5u);
    write_ok(kMsrApicBase, 0xfee00d00);
    EXPECT_EQ(platform.msrs[kMsrApicBase], 0xfee00d00u);
}

TEST_F(SystemTest, TimeComesFromTheInstructionCount) {
    state.icount = Icount(234);
    state.tsc_aux = 9;
    run_done({0x0f, 0x31});
    EXPECT_EQ(state.gpr[kRax], 1234u);
    run_done({0x0f, 0x01, 0xf9});
    EXPECT_EQ(state.gpr[kRax], 1235u);
    EXPECT_EQ(state.gpr[kRcx], 9u);
    run_fault({0x0f, 0x33}, kGp);  // rdpmc
    state.cr4 |= kCr4Tsd;
    enter_user();
    run_fault({0x0f, 0x31}, kGp);
}

TEST_F(SystemTest, CpuidFillsFourRegisters) {
    state.gpr[kRax] = 0xffffffff00000001;
    state.gpr[kRbx] = ~0ull;
    run_done({0x0f, 0xa2});
    CpuidResult expected = cpuid({.cr4 = state.cr4}, 1, 0);
    EXPECT_EQ(state.gpr[kRax], expected.eax);
    EXPECT_EQ(state.gpr[kRbx], expected.ebx);
    EXPECT_EQ(state.gpr[kRdx], expected.edx);
}

TEST_F(SystemTest, HltStopsBehindItself) {
    EXPECT_EQ(run({0xf4}), StepResult::kHalt);
    EXPECT_EQ(state.rip, kCode + 1);
    EXPECT_EQ(state.halted, 1);
    EXPECT_EQ(state.icount, Icount(1));
}

TEST_F(SystemTest, InvlpgAndInvpcid) {
    map(0x700000, 0x300000, kKernelPage);
    auto reach = [&] { (void)cpu.mmu.translate(GuestVirt(0x700000), Access::kRead, false); };
    auto cached = [&] { return cpu.mmu.cached(GuestVirt(0x700000)) != nullptr; };
    reach();
    ASSERT_TRUE(cached());
    state.gpr[kRbx] = 0x700010;
    run_done({0x0f, 0x01, 0x3b});
    EXPECT_FALSE(cached());
    reach();
    put64(0x9000, 0);
    put64(0x9008, 0x700000);
    state.gpr[kRbx] = 0x9000;
    state.gpr[kRax] = 0;
    run_done({0x66, 0x0f, 0x38, 0x82, 0x03});
    EXPECT_FALSE(cached());
    state.gpr[kRax] = 4;
    run_fault({0x66, 0x0f, 0x38, 0x82, 0x03}, kGp);
    put64(0x9000, 0x1000);
    state.gpr[kRax] = 2;
    run_fault({0x66, 0x0f, 0x38, 0x82, 0x03}, kGp);
    put64(0x9000, 1);
    state.gpr[kRax] = 1;
    run_fault({0x66, 0x0f, 0x38, 0x82, 0x03}, kGp);  // PCIDs are off
}

TEST_F(SystemTest, PortsAndTheirPermissionMap) {
    state.gpr[kRax] = 0xffffffffaabbccdd;
    run_done({0xe6, 0x80});  // out 0x80, al
    state.gpr[kRdx] = 0xcf8;
    run_done({0xef});  // out dx, eax
    EXPECT_EQ(platform.port_writes,
              (std::vector<FakePlatform::Access>{{0x80, 1, 0xdd}, {0xcf8, 4, 0xaabbccdd}}));
    run_done({0xec});  // in al, dx
    EXPECT_EQ(state.gpr[kRax], 0xffffffffaabbcc44u);
    run_done({0xed});  // in eax, dx
    EXPECT_EQ(state.gpr[kRax], 0x11223344u);

    enter_user();
    run_fault({0xec}, kGp);
    state.tr.limit = 0x68 + 0x2000;
    run_done({0xec});
    put(kTss + 0x68 + 0xcf8 / 8, {0x02});  // port 0xcf9 is denied
    run_done({0xec});
    run_fault({0xed}, kGp);
}

TEST_F(SystemTest, CompareAndExchangeWide) {
    put64(0x9000, 1);
    put64(0x9008, 2);
    state.gpr[kRsi] = 0x9000;
    state.gpr[kRax] = 1;
    state.gpr[kRdx] = 2;
    state.gpr[kRbx] = 3;
    state.gpr[kRcx] = 4;
    run_done({0xf0, 0x48, 0x0f, 0xc7, 0x0e});
    EXPECT_EQ(get64(0x9000), 3u);
    EXPECT_EQ(get64(0x9008), 4u);
    EXPECT_TRUE(state.rflags & kFlagZf);
    run_done({0xf0, 0x48, 0x0f, 0xc7, 0x0e});
    EXPECT_FALSE(state.rflags & kFlagZf);
    EXPECT_EQ(state.gpr[kRax], 3u);
    EXPECT_EQ(state.gpr[kRdx], 4u);
    state.gpr[kRsi] = 0x9008;
    run_fault({0xf0, 0x48, 0x0f, 0xc7, 0x0e}, kGp);
    run_done({0x0f, 0xc7, 0x0e});  // eight bytes need no alignment
    EXPECT_EQ(state.gpr[kRax], 4u);
}

TEST_F(SystemTest, EnterAndLeave) {
    state.gpr[kRbp] = 0xb0b0;
    run_done({0xc8, 0x20, 0x00, 0x00});  // enter 32, 0
    EXPECT_EQ(state.gpr[kRbp], kStack - 8);
    EXPECT_EQ(state.gpr[kRsp], kStack - 8 - 32);
    EXPECT_EQ(get64(kStack - 8), 0xb0b0u);
    run_done({0xc9});
    EXPECT_EQ(state.gpr[kRbp], 0xb0b0u);
    EXPECT_EQ(state.gpr[kRsp], kStack);
    put64(kStack - 0x108, 0x77);
    state.gpr[kRbp] = kStack - 0x100;
    run_done({0xc8, 0x10, 0x00, 0x02});  // enter 16, 2
    EXPECT_EQ(get64(kStack - 8), kStack - 0x100);
    EXPECT_EQ(get64(kStack - 16), 0x77u);
    EXPECT_EQ(get64(kStack - 24), kStack - 8);
    EXPECT_EQ(state.gpr[kRsp], kStack - 24 - 16);
}

TEST_F(SystemTest, XlatWithAnOverride) {
    put(0x9005, {0x99});
    state.gpr[kRbx] = 0x9000 - 0x100;
    state.gpr[kRax] = 0xff05;
    state.segments[kFs].base = 0x100;
    run_done({0x64, 0xd7});
    EXPECT_EQ(state.gpr[kRax], 0xff99u);
}

TEST_F(SystemTest, ResetIsTheArchitecturalOne) {
    state.icount = Icount(77);
    reset(cpu);
    EXPECT_EQ(state.rip, 0xfff0u);
    EXPECT_EQ(state.segments[kCs].base, 0xffff0000u);
    EXPECT_EQ(state.cr0, 0x60000010u);
    EXPECT_EQ(state.rflags, 2u);
    EXPECT_EQ(state.gpr[kRdx], cpuid({}, 1, 0).eax);
    EXPECT_EQ(state.icount, Icount(77));
}

}  // namespace
}  // namespace lockstep::cpu
