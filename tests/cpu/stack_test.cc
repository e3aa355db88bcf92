// SPDX-License-Identifier: Apache-2.0
// PUSH and POP in the forms that the translator leaves to the interpreter: 16-bit operands and POP to memory;
// ENTER and LEAVE.
#include "cpu_fixture.h"

namespace lockstep::cpu {
namespace {

constexpr uint64_t kData = 0x9000, kUnmapped = 0x900008, kNotCanonical = 0x800000000000;

class StackTest : public CpuTest {
  protected:
    uint16_t word(uint64_t at) { return memory->read_number<uint16_t>(GuestPhys(at)); }
};

TEST_F(StackTest, PushesOfTwoBytes) {
    state.gpr[kRbp] = 0x1111222233334444;
    run_done({0x66, 0x55});  // push bp
    EXPECT_EQ(state.gpr[kRsp], kStack - 2);
    EXPECT_EQ(word(kStack - 2), 0x4444);
    run_done({0x66, 0x68, 0x34, 0x12});  // push 0x1234
    EXPECT_EQ(word(kStack - 4), 0x1234);
    run_done({0x66, 0x6a, 0xfe});  // push -2
    EXPECT_EQ(word(kStack - 6), 0xfffe);
    state.gpr[kRbx] = kData;
    put64(kData, 0xddddccccbbbbaaaa);
    run_done({0x66, 0xff, 0x73, 0x02});  // push word [rbx + 2]
    EXPECT_EQ(word(kStack - 8), 0xbbbb);
    EXPECT_EQ(state.gpr[kRsp], kStack - 8);
}

TEST_F(StackTest, PushOfRspStoresItsFormerValue) {
    run_done({0x66, 0x54});  // push sp
    EXPECT_EQ(word(kStack - 2), kStack & 0xffff);
    state.gpr[kRsp] = kStack;
    put64(kStack, 0x77);
    run_done({0x66, 0xff, 0x34, 0x24});  // push word [rsp]
    EXPECT_EQ(word(kStack - 2), 0x77);
}

TEST_F(StackTest, PopsOfTwoBytesKeepTheRestOfTheRegister) {
    put64(kStack, 0x55557777);
    state.gpr[kRcx] = ~uint64_t{0};
    run_done({0x66, 0x59});  // pop cx
    EXPECT_EQ(state.gpr[kRcx], 0xffffffffffff7777u);
    EXPECT_EQ(state.gpr[kRsp], kStack + 2);
    run_done({0x66, 0x5c});  // pop sp: into the incremented register
    EXPECT_EQ(state.gpr[kRsp], ((kStack + 4) & ~uint64_t{0xffff}) | 0x5555);
}

TEST_F(StackTest, PopToMemoryComputesItsAddressAfterTheIncrement) {
    put64(kStack, 0x0123456789abcdef);
    put64(kStack + 16, 0);
    run_done({0x8f, 0x44, 0x24, 0x08});  // pop qword [rsp + 8]
    EXPECT_EQ(state.gpr[kRsp], kStack + 8);
    EXPECT_EQ(get64(kStack + 16), 0x0123456789abcdefu);
    state.gpr[kRsp] = kStack;
    put64(kStack + 8, 0);
    run_done({0x66, 0x8f, 0x44, 0x24, 0x06});  // pop word [rsp + 6]
    EXPECT_EQ(state.gpr[kRsp], kStack + 2);
    EXPECT_EQ(get64(kStack + 8), 0xcdefu);
}

TEST_F(StackTest, PopToMemoryFaultsWithRspAsItWas) {
    state.gpr[kRbx] = kUnmapped;
    run_fault({0x8f, 0x03}, kPf, x86::kPfWrite);
    EXPECT_EQ(state.gpr[kRsp], kStack);
    state.gpr[kRbx] = kNotCanonical;
    run_fault({0x8f, 0x03}, kGp);
    state.gpr[kRsp] = kUnmapped;
    run_fault({0x8f, 0x03}, kPf, 0);
    EXPECT_EQ(exception.cr2, kUnmapped) << "the stack is read first";
    state.gpr[kRsp] = kNotCanonical;
    run_fault({0x66, 0x58}, kSs_);
    run_fault({0x66, 0x50}, kPf, x86::kPfWrite);  // just below is canonical, but nothing is there
    EXPECT_EQ(state.gpr[kRsp], kNotCanonical);
}

TEST_F(StackTest, AnAccessAcrossTheCanonicalBoundaryIsRefusedBeforeItsFirstPageIsWalked) {
    state.gpr[kRbx] = kNotCanonical - 4;
    run_fault({0x8f, 0x03}, kGp);
    state.gpr[kRsp] = kNotCanonical - 1;
    run_fault({0x66, 0x58}, kSs_);
    state.gpr[kRsp] = kNotCanonical + 1;
    run_fault({0x66, 0x50}, kSs_);
}

TEST_F(StackTest, EnterWithoutNesting) {
    state.gpr[kRbp] = 0x1234;
    run_done({0xc8, 0x20, 0x00, 0x00});
    EXPECT_EQ(get64(kStack - 8), 0x1234u);
    EXPECT_EQ(state.gpr[kRbp], kStack - 8);
    EXPECT_EQ(state.gpr[kRsp], kStack - 8 - 0x20);
    run_done({0xc9});
    EXPECT_EQ(state.gpr[kRbp], 0x1234u);
    EXPECT_EQ(state.gpr[kRsp], kStack);
}

TEST_F(StackTest, EnterCopiesTheOuterFramePointers) {
    state.gpr[kRbp] = kData + 0x100;
    put64(kData + 0x100 - 8, 0xaaaa);
    put64(kData + 0x100 - 16, 0xbbbb);
    run_done({0xc8, 0x08, 0x00, 0x03});
    EXPECT_EQ(get64(kStack - 8), kData + 0x100);
    EXPECT_EQ(get64(kStack - 16), 0xaaaau);
    EXPECT_EQ(get64(kStack - 24), 0xbbbbu);
    EXPECT_EQ(get64(kStack - 32), kStack - 8);
    EXPECT_EQ(state.gpr[kRbp], kStack - 8);
    EXPECT_EQ(state.gpr[kRsp], kStack - 40);
}

TEST_F(StackTest, EnterOfTwoBytes) {
    state.gpr[kRbp] = 0xffffffff00009876;
    run_done({0x66, 0xc8, 0x00, 0x00, 0x01});
    EXPECT_EQ(word(kStack - 2), 0x9876);
    EXPECT_EQ(word(kStack - 4), (kStack - 2) & 0xffff);
    EXPECT_EQ(state.gpr[kRbp], 0xffffffff00000000 | ((kStack - 2) & 0xffff));
    EXPECT_EQ(state.gpr[kRsp], kStack - 4);
}

TEST_F(StackTest, EnterCopiesWhatItHasPushedItself) {
    state.gpr[kRbp] = kStack;  // the outer pointers lie where the new frame goes
    put64(kStack - 8, 0xdead);
    run_done({0xc8, 0x00, 0x00, 0x03});
    EXPECT_EQ(get64(kStack - 16), kStack) << "the RBP just pushed";
    EXPECT_EQ(get64(kStack - 24), kStack);
}

TEST_F(StackTest, EnterFaultsInTheOrderOfItsAccessesAndChangesNothing) {
    state.gpr[kRbp] = kUnmapped;
    put64(kStack - 8, 0x5a5a);
    run_fault({0xc8, 0x00, 0x00, 0x02}, kPf, 0);  // the push of RBP goes well, the outer pointer is missing
    EXPECT_EQ(exception.cr2, kUnmapped - 8);
    EXPECT_EQ(get64(kStack - 8), 0x5a5au);
    state.gpr[kRsp] = kUnmapped;
    run_fault({0xc8, 0x00, 0x00, 0x02}, kPf, x86::kPfWrite);
    EXPECT_EQ(exception.cr2, kUnmapped - 8);
    state.gpr[kRsp] = kNotCanonical + 8;
    run_fault({0xc8, 0x00, 0x00, 0x00}, kSs_);
    map(0x300000, 0x2000, kKernelPage);
    state.gpr[kRsp] = 0x300010;
    run_fault({0xc8, 0x10, 0x00, 0x00}, kPf, x86::kPfWrite);  // the new top of the stack
    EXPECT_EQ(exception.cr2, 0x2ffff8u);
    EXPECT_EQ(state.gpr[kRsp], 0x300010u);
    EXPECT_EQ(state.gpr[kRbp], kUnmapped);
}

}  // namespace
}  // namespace lockstep::cpu
