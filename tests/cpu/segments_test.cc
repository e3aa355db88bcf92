// SPDX-License-Identifier: Apache-2.0
// Segment registers, descriptor tables, bases, LAR, LSL, VERR, VERW.
#include "cpu_fixture.h"

namespace lockstep::cpu {
namespace {

using namespace x86;

class SegmentsTest : public CpuTest {
  protected:
    void load(Bytes code, uint64_t selector) {
        state.rip = kCode;
        state.gpr[kRax] = selector;
        run_done(code);
    }
    void refused(Bytes code, uint64_t selector, uint8_t vector, uint32_t error) {
        state.gpr[kRax] = selector;
        run_fault(code, vector, error);
    }
    const Bytes mov_ds{0x8e, 0xd8}, mov_ss{0x8e, 0xd0}, mov_fs{0x8e, 0xe0}, mov_gs{0x8e, 0xe8};
};

TEST_F(SegmentsTest, LoadsDataSegments) {
    load(mov_ds, kKernelSs);
    EXPECT_EQ(state.segments[kDs].selector, kKernelSs);
    EXPECT_EQ(state.segments[kDs].attributes, kFlatData);
    refused(mov_ds, kAbsentData, kNp, kAbsentData);
    refused(mov_ds, 0x78 + 8, kGp, 0x80);
    refused(mov_ds, kTssSelector, kGp, kTssSelector);
    refused(mov_ds, kKernelSs | 3, kGp, kKernelSs);
    state.segments[kFs].base = 5;
    load(mov_fs, 3);
    EXPECT_EQ(state.segments[kFs].selector, 3);
    EXPECT_EQ(state.segments[kFs].base, 0u);
    EXPECT_EQ(run({0x8e, 0xc8}), StepResult::kUnsupported) << "mov cs, ax is undefined";
}

TEST_F(SegmentsTest, StackSegmentRulesAndShadow) {
    load(mov_ss, kKernelSs);
    EXPECT_EQ(state.interrupt_shadow, kShadowOfMovSs);
    load(mov_ss, 0);
    EXPECT_EQ(state.cpl(), 0u);
    refused(mov_ss, kUserSs, kGp, kUserSs & ~3u);
    refused(mov_ss, kReadOnlyData, kGp, kReadOnlyData);
    refused(mov_ss, kAbsentData, kSs_, kAbsentData);
    enter_user();
    state.rip = kUserCode;
    refused(mov_ss, 0, kGp, 0);
}

TEST_F(SegmentsTest, SetsTheAccessedBitOfTheDescriptor) {
    uint64_t clear = make_descriptor(0, ~0u, kFlatData & ~kAttributeAccessed).low;
    put64(kGdt + 0x70, clear);
    load(mov_ds, 0x70);
    EXPECT_EQ(get64(kGdt + 0x70), clear | uint64_t{1} << 40);
}

TEST_F(SegmentsTest, StoresSelectors) {
    state.gpr[kRbx] = ~uint64_t{0};
    run_done({0x66, 0x8c, 0xd3});  // mov bx, ss
    EXPECT_EQ(state.gpr[kRbx], 0xffffffffffff0000 | kKernelSs);
    run_done({0x8c, 0xd3});  // mov ebx, ss
    EXPECT_EQ(state.gpr[kRbx], kKernelSs);
    put64(0x9000, ~uint64_t{0});
    state.gpr[kRbx] = 0x9000;
    run_done({0x48, 0x8c, 0x0b});  // mov [rbx], cs: two bytes
    EXPECT_EQ(get64(0x9000), 0xffffffffffff0000 | kKernelCs);
}

TEST_F(SegmentsTest, PushAndPop) {
    state.segments[kFs].selector = kUserSs;
    run_done({0x0f, 0xa0});  // push fs
    EXPECT_EQ(get64(kStack - 8), kUserSs);
    put64(kStack - 8, 0);
    run_done({0x0f, 0xa1});  // pop fs
    EXPECT_EQ(state.segments[kFs].selector, 0);
    EXPECT_EQ(state.gpr[kRsp], kStack);
}

TEST_F(SegmentsTest, DescriptorTables) {
    put(0x9000, {0x7f, 0x00, 0x00, 0x50, 0x00, 0x00, 0x00, 0x88, 0xff, 0xff});
    state.gpr[kRbx] = 0x9000;
    run_done({0x0f, 0x01, 0x13});  // lgdt [rbx]
    EXPECT_EQ(state.gdtr.base, 0xffff880000005000u);
    EXPECT_EQ(state.gdtr.limit, 0x7fu);
    run_done({0x0f, 0x01, 0x03});  // sgdt [rbx]
    EXPECT_EQ(get(0x9000, 4), (Bytes{0x7f, 0x00, 0x00, 0x50}));
    put64(0x9002, 0x0000800000000000);
    run_fault({0x0f, 0x01, 0x1b}, kGp);  // lidt: not canonical
}

TEST_F(SegmentsTest, TaskRegisterAndLdt) {
    state.gpr[kRax] = kTssSelector;
    run_done({0x0f, 0x00, 0xd8});  // ltr ax
    EXPECT_EQ(state.tr.base, kTss);
    EXPECT_EQ(get64(kGdt + kTssSelector) >> 40 & 15, kTypeTssBusy);
    run_fault({0x0f, 0x00, 0xd8}, kGp, kTssSelector);  // busy now
    state.gpr[kRax] = kLdtSelector;
    run_done({0x0f, 0x00, 0xd0});  // lldt ax
    put64(0x8000 + 8, make_descriptor(0x1000, 0xfff, with_dpl(0x40f3, 3)).low);
    load(mov_fs, 0xf);
    EXPECT_EQ(state.segments[kFs].base, 0x1000u);
    refused(mov_fs, 0x1f, kGp, 0x1c);
    load({0x0f, 0x00, 0xd0}, 0);
    refused(mov_fs, 0xf, kGp, 0xc);
    run_done({0x0f, 0x00, 0xcb});  // str ebx
    EXPECT_EQ(state.gpr[kRbx], kTssSelector);
}

TEST_F(SegmentsTest, SwapgsAndBases) {
    state.segments[kGs].base = 1;
    state.kernel_gs_base = 2;
    run_done({0x0f, 0x01, 0xf8});
    EXPECT_EQ(state.segments[kGs].base, 2u);
    EXPECT_EQ(state.kernel_gs_base, 1u);
    enter_user();
    state.gpr[kRax] = 0x7fff12345678;
    run_done({0xf3, 0x48, 0x0f, 0xae, 0xd0});  // wrfsbase rax
    EXPECT_EQ(state.segments[kFs].base, 0x7fff12345678u);
    run_done({0xf3, 0x48, 0x0f, 0xae, 0xcb});  // rdgsbase rbx
    EXPECT_EQ(state.gpr[kRbx], 2u);
    run_done({0xf3, 0x0f, 0xae, 0xc3});  // rdfsbase ebx
    EXPECT_EQ(state.gpr[kRbx], 0x12345678u);
    state.gpr[kRax] = 0x800000000000;
    run_fault({0xf3, 0x48, 0x0f, 0xae, 0xd8}, kGp);
    state.cr4 &= ~kCr4Fsgsbase;
    run_fault({0xf3, 0x48, 0x0f, 0xae, 0xd0}, kUd);
}

TEST_F(SegmentsTest, LslAndLarSeeWhatTheLevelMay) {
    set_descriptor(0x7b, make_descriptor(0, 0x123, with_dpl(0x40f3, 3)));  // how Linux hides the CPU number
    enter_user();
    state.gpr[kRax] = 0x7b;
    run_done({0x0f, 0x03, 0xd8});  // lsl ebx, eax
    EXPECT_EQ(state.gpr[kRbx], 0x123u);
    EXPECT_TRUE(state.rflags & kFlagZf);
    run_done({0x0f, 0x02, 0xd8});  // lar ebx, eax
    EXPECT_EQ(state.gpr[kRbx], 0x40f300u);
    state.gpr[kRax] = kKernelSs;
    run_done({0x0f, 0x03, 0xd8});
    EXPECT_FALSE(state.rflags & kFlagZf);
    EXPECT_EQ(state.gpr[kRbx], 0x40f300u) << "unchanged";
}

TEST_F(SegmentsTest, VerrAndVerw) {
    auto zf_after = [&](const Bytes& code, uint64_t selector) {
        state.gpr[kRax] = selector;
        run_done(code);
        return (state.rflags & kFlagZf) != 0;
    };
    const Bytes verr{0x0f, 0x00, 0xe0}, verw{0x0f, 0x00, 0xe8};
    EXPECT_TRUE(zf_after(verr, kReadOnlyData));
    EXPECT_FALSE(zf_after(verw, kReadOnlyData));
    EXPECT_TRUE(zf_after(verw, kKernelSs));
    EXPECT_TRUE(zf_after(verr, kKernelCs));
    EXPECT_FALSE(zf_after(verw, kKernelCs));
    EXPECT_FALSE(zf_after(verr, 0));
    EXPECT_FALSE(zf_after(verr, 0xff00));
}

TEST_F(SegmentsTest, LoadsAFarPointer) {
    put64(0x9000, 0x1122334455667788);
    put64(0x9008, kUserSs);
    state.gpr[kRbx] = 0x9000;
    run_done({0x48, 0x0f, 0xb5, 0x0b});  // lgs rcx, [rbx]
    EXPECT_EQ(state.gpr[kRcx], 0x1122334455667788u);
    EXPECT_EQ(state.segments[kGs].selector, kUserSs);
}

}  // namespace
}  // namespace lockstep::cpu
