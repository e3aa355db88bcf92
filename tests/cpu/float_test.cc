// SPDX-License-Identifier: Apache-2.0
// FXSAVE and its relatives. The x87 forms are compared with the bare CPU, pointers aside.
#include "cpu_fixture.h"

namespace lockstep::cpu {
namespace {

using namespace x86;

/// The host's x87 state after a few instructions that leave all kinds of tags.
FxState host_state() {
    FxState image;
    asm volatile(
        "fninit; fld1; fldz; fldpi; fldz; fld1; fdivp; fld1; fincstp; fstp %%st(3); fxsave64 %0; fninit"
        : "=m"(image)::"memory");
    normalise_fx(image);
    return image;
}

class FloatTest : public CpuTest {
  protected:
    FloatTest() { state.gpr[kRbx] = kData; }
    static constexpr uint64_t kData = 0x9000;
    template <typename T>
    T at(unsigned offset) {
        return memory->read_number<T>(GuestPhys(kData + offset));
    }
};

TEST_F(FloatTest, FxsaveWritesTheImageAndLeavesTheSoftwarePart) {
    state.fx = host_state();
    put(kData, Bytes(512, 0xee));
    run_done({0x48, 0x0f, 0xae, 0x03});
    Bytes image = get(kData, 512);
    EXPECT_TRUE(std::equal(image.begin(), image.begin() + 416, state.fx.bytes.begin()));
    EXPECT_EQ(image[416], 0xee);
    EXPECT_EQ(at<uint32_t>(28), 0xffffu);
    EXPECT_EQ(at<uint64_t>(8), 0u);
}

TEST_F(FloatTest, FxrstorNormalisesAndChecksMxcsr) {
    Bytes image(512, 0);
    image[0] = 0x7f;
    image[1] = 0x03;
    image[2] = 0x81;  // an exception that is masked: the summary bit goes
    image[8] = 0x99;  // FIP
    image[24] = 0x80;
    image[25] = 0x1f;
    image[32 + 12] = 0x77;
    image[160] = 0x42;
    put(kData, image);
    run_done({0x48, 0x0f, 0xae, 0x0b});
    EXPECT_EQ(state.fx.bytes[kFxStatus], 0x01);
    EXPECT_EQ(state.fx.bytes[kFxInstruction], 0);
    EXPECT_EQ(state.fx.bytes[kFxStack + 12], 0);
    EXPECT_EQ(state.fx.bytes[kFxXmm], 0x42);
    EXPECT_EQ(state.fx.bytes[kFxMxcsrMask], 0xff);
    image[26] = 1;
    put(kData, image);
    run_fault({0x48, 0x0f, 0xae, 0x0b}, kGp);
}

TEST_F(FloatTest, AlignmentAndAvailability) {
    state.gpr[kRbx] = kData + 8;
    run_fault({0x48, 0x0f, 0xae, 0x03}, kGp);
    state.gpr[kRbx] = kData;
    state.cr0 |= kCr0Ts;
    run_fault({0x48, 0x0f, 0xae, 0x03}, kNm);
    run_fault({0xd9, 0x33}, kNm);
    run_fault({0x0f, 0xae, 0x13}, kNm);
    state.cr0 = (state.cr0 & ~kCr0Ts) | kCr0Em;
    run_fault({0x0f, 0xae, 0x13}, kUd);
    state.cr0 &= ~kCr0Em;
    state.cr4 &= ~kCr4Osfxsr;
    run_fault({0x0f, 0xae, 0x13}, kUd);
}

TEST_F(FloatTest, Mxcsr) {
    memory->write_number<uint32_t>(GuestPhys(kData), 0x3f80);
    run_done({0x0f, 0xae, 0x13});  // ldmxcsr [rbx]
    memory->write_number<uint32_t>(GuestPhys(kData), 0);
    run_done({0x0f, 0xae, 0x1b});  // stmxcsr [rbx]
    EXPECT_EQ(at<uint32_t>(0), 0x3f80u);
    memory->write_number<uint32_t>(GuestPhys(kData), 0x10000);
    run_fault({0x0f, 0xae, 0x13}, kGp);
}

/// Zeroes the fields of an environment that hold addresses and opcodes.
void drop_pointers(uint8_t* environment) { std::memset(environment + 12, 0, 14); }

TEST_F(FloatTest, FnstenvAgreesWithTheBareCpu) {
    state.fx = host_state();
    uint8_t expected[28];
    uint16_t control_after = 0;
    asm volatile("fxrstor64 %2; fnstenv %0; fnstcw %1; fninit"
                 : "=m"(expected), "=m"(control_after)
                 : "m"(state.fx));
    drop_pointers(expected);
    run_done({0xd9, 0x33});
    EXPECT_EQ(get(kData, 28), Bytes(expected, expected + 28));
    uint16_t control;
    std::memcpy(&control, &state.fx.bytes[kFxControl], 2);
    EXPECT_EQ(control, control_after);
}

TEST_F(FloatTest, FnsaveAndFrstorAgreeWithTheBareCpu) {
    FxState start = host_state();
    state.fx = start;
    uint8_t expected[108];
    FxState after_save, after_restore;
    asm volatile("fxrstor64 %3; fnsave %0; fxsave64 %1; frstor %0; fxsave64 %2; fninit"
                 : "=m"(expected), "=m"(after_save), "=m"(after_restore)
                 : "m"(start));
    drop_pointers(expected);
    normalise_fx(after_save);
    normalise_fx(after_restore);
    run_done({0xdd, 0x33});
    EXPECT_EQ(get(kData, 108), Bytes(expected, expected + 108));
    EXPECT_TRUE(std::equal(&after_save.bytes[0], &after_save.bytes[kFxMxcsr], &state.fx.bytes[0]));
    EXPECT_TRUE(std::equal(&after_save.bytes[kFxStack], &after_save.bytes[kFxXmm], &state.fx.bytes[kFxStack]))
        << "the registers turn with the top of the stack";
    run_done({0xdd, 0x23});
    EXPECT_TRUE(std::equal(&after_restore.bytes[0], &after_restore.bytes[kFxMxcsr], &state.fx.bytes[0]));
    EXPECT_TRUE(
        std::equal(&after_restore.bytes[kFxStack], &after_restore.bytes[kFxXmm], &state.fx.bytes[kFxStack]));
}

TEST_F(FloatTest, FldenvAgreesWithTheBareCpuForEachTop) {
    FxState start = host_state();
    for (unsigned top = 0; top < 8; ++top) {
        uint8_t environment[28] = {0x7f, 0x03, 0xff, 0xff, 0x00, static_cast<uint8_t>(top << 3),
                                   0xff, 0xff, 0x1b, 0x72, 0xff, 0xff};
        FxState expected;
        asm volatile("fxrstor64 %1; fldenv %2; fxsave64 %0; fninit"
                     : "=m"(expected)
                     : "m"(start), "m"(environment));
        normalise_fx(expected);
        state.fx = start;
        put(kData, Bytes(environment, environment + 28));
        run_done({0xd9, 0x23});
        EXPECT_TRUE(std::equal(&expected.bytes[0], &expected.bytes[kFxMxcsr], &state.fx.bytes[0])) << top;
        EXPECT_TRUE(std::equal(&expected.bytes[kFxStack], &expected.bytes[kFxXmm], &state.fx.bytes[kFxStack]))
            << top;
    }
}

TEST_F(FloatTest, UnmaskedExceptionsSetTheSummaryAndAreReportedLater) {
    uint8_t environment[28] = {0x7e, 0x03, 0xff, 0xff, 0x01, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    put(kData, Bytes(environment, environment + 28));
    run_done({0xd9, 0x23});
    EXPECT_EQ(state.fx.bytes[kFxStatus], 0x81);
    EXPECT_EQ(state.fx.bytes[kFxStatus + 1], 0x80);
    run_fault({0xd9, 0x23}, kMf);
    run_done({0xdb, 0xe3});  // fninit
    EXPECT_EQ(state.fx.bytes[kFxStatus], 0);
    run_done({0xd9, 0x23});
}

TEST_F(FloatTest, ShortFormHasSixteenBitWords) {
    state.fx = host_state();
    put(kData, Bytes(28, 0xee));
    run_done({0x66, 0xd9, 0x33});
    EXPECT_EQ(at<uint16_t>(0), 0x37f);
    EXPECT_EQ(at<uint64_t>(6), 0u);
    EXPECT_EQ(at<uint16_t>(14), 0xeeee);
}

/// MMX register n holds bytes of 0x10 + n, while the top of the x87 stack is `top`.
FxState image_at_top(unsigned top) {
    FxState fx;
    reset_fx(fx);
    fx.bytes[kFxStatus + 1] = static_cast<uint8_t>(top << 3);
    for (unsigned number = 0; number < 8; ++number)
        std::memset(&fx.bytes[kFxStack + ((number - top) & 7) * 16], static_cast<int>(0x10 + number), 8);
    return fx;
}

TEST_F(FloatTest, MaskmovqStoresTheSelectedBytesAndEntersMmx) {
    state.fx = image_at_top(3);
    const uint8_t mask[8] = {0x80, 0, 0xff, 0x7f, 0, 0x81, 0, 0};
    std::memcpy(&state.fx.bytes[kFxStack + ((5 - 3) & 7) * 16], mask, 8);
    put(kData, Bytes(9, 0xee));
    state.gpr[kRdi] = kData;
    run_done({0x0f, 0xf7, 0xd5});  // maskmovq mm2, mm5
    EXPECT_EQ(get(kData, 9), (Bytes{0x12, 0xee, 0x12, 0xee, 0xee, 0x12, 0xee, 0xee, 0xee}));
    EXPECT_EQ(state.fx.bytes[kFxTag], 0xff);
    EXPECT_EQ(state.fx.bytes[kFxStatus + 1] & 0x38, 0) << "top of stack";
    EXPECT_EQ(state.fx.bytes[kFxStack + 2 * 16], 0x12);
    EXPECT_EQ(state.fx.bytes[kFxStack + 7 * 16], 0x17);
}

TEST_F(FloatTest, MaskmovdquStoresTheSelectedBytes) {
    for (unsigned i = 0; i < 16; ++i) {
        state.fx.bytes[kFxXmm + 9 * 16 + i] = static_cast<uint8_t>(i);
        state.fx.bytes[kFxXmm + 2 * 16 + i] = i % 3 ? 0x7f : 0x80;
    }
    put(kData, Bytes(32, 0xee));
    state.segments[kFs].base = 0x1000;
    state.gpr[kRdi] = 0x500000000 + kData - 0x1000 + 5;
    run_done({0x67, 0x64, 0x66, 0x44, 0x0f, 0xf7, 0xca});  // maskmovdqu xmm9, xmm2 at fs:[edi]
    Bytes expected(32, 0xee);
    for (unsigned i = 0; i < 16; i += 3) expected[5 + i] = static_cast<uint8_t>(i);
    EXPECT_EQ(get(kData, 32), expected);
}

TEST_F(FloatTest, MaskedStoresFaultBeforeTheyWrite) {
    std::memset(&state.fx.bytes[kFxXmm], 0xff, 16);
    put(0xffff8, Bytes(8, 0xee));
    state.gpr[kRdi] = 0xffff8;  // the last page of the identity map
    run_fault({0x66, 0x0f, 0xf7, 0xc0}, kPf, x86::kPfWrite);
    EXPECT_EQ(exception.cr2, 0x100000u);
    EXPECT_EQ(get(0xffff8, 8), Bytes(8, 0xee));
    state.gpr[kRdi] = kData;
    state.cr0 |= kCr0Ts;
    run_fault({0x66, 0x0f, 0xf7, 0xc0}, kNm);
    run_fault({0x0f, 0xf7, 0xc0}, kNm);
    state.cr0 |= kCr0Em;
    run_fault({0x0f, 0xf7, 0xc0}, kUd);
    state.cr0 &= ~(kCr0Em | kCr0Ts);
    state.fx.bytes[kFxStatus] |= 0x80;  // an exception of an earlier x87 instruction waits
    run_fault({0x0f, 0xf7, 0xc0}, kMf);
    run_done({0x66, 0x0f, 0xf7, 0xc0});
}

}  // namespace
}  // namespace lockstep::cpu
