// SPDX-License-Identifier: Apache-2.0
// XSAVE and its relatives with the AVX component, and the availability of the interpreter's AVX instructions.
#include "cpu_fixture.h"

namespace lockstep::cpu {
namespace {

using namespace x86;

const Bytes kXsave = {0x48, 0x0f, 0xae, 0x23}, kXrstor = {0x48, 0x0f, 0xae, 0x2b};
const Bytes kXsetbv = {0x0f, 0x01, 0xd1};
constexpr uint64_t kAll = kXcr0X87 | kXcr0Sse | kXcr0Avx;
constexpr unsigned kComponents = 512, kUpper = 576, kAreaBytes = 832;

class AvxStateTest : public CpuTest {
  protected:
    AvxStateTest() : CpuTest(CpuModel::kV3) {
        state.cr4 |= kCr4Osxsave;
        state.xcr0 = kAll;
        state.gpr[kRbx] = kData;
        request(kAll);
        fill(0);
    }
    void fill(uint8_t start) {
        for (unsigned i = 0; i < 256; ++i) {
            state.fx.bytes[kFxXmm + i] = static_cast<uint8_t>(start + i);
            state.upper_halves.bytes[i] = static_cast<uint8_t>(start + 3 * i + 1);
        }
    }
    void request(uint64_t components) {
        state.gpr[kRax] = components;
        state.gpr[kRdx] = 0;
    }
    Bytes area() { return get(kData, kAreaBytes); }
    static constexpr uint64_t kData = 0x9000;
};

TEST_F(AvxStateTest, WritesUpperHalvesBehindTheHeader) {
    put(kData, Bytes(kAreaBytes, 0));
    run_done(kXsave);
    Bytes image = area();
    EXPECT_EQ(image[kComponents], kAll);
    EXPECT_TRUE(std::equal(image.begin(), image.begin() + kFxEnd, state.fx.bytes.begin()));
    EXPECT_TRUE(std::equal(image.begin() + kUpper, image.end(), state.upper_halves.bytes.begin()));
}

TEST_F(AvxStateTest, ComponentsInTheirFirstStateCountAsInUse) {
    state.upper_halves = {};
    put(kData, Bytes(kAreaBytes, 0xee));
    put(kData + kComponents, Bytes(8, 0));
    run_done(kXsave);
    EXPECT_EQ(area()[kComponents], kAll);
    EXPECT_EQ(get(kData + kUpper, 256), Bytes(256, 0));
}

TEST_F(AvxStateTest, LeavesWhatIsNotRequested) {
    for (uint64_t wanted = 0; wanted <= kAll; ++wanted) {
        put(kData, Bytes(kAreaBytes, 0xee));
        request(wanted | 0xf8);  // components that XCR0 hasn't are ignored
        run_done(kXsave);
        Bytes image = area();
        for (unsigned i = 0; i < kAreaBytes; ++i) {
            bool x87 = i < kFxMxcsr || (i >= kFxStack && i < kFxXmm);
            bool mxcsr = i >= kFxMxcsr && i < kFxStack, sse = i >= kFxXmm && i < kFxEnd, avx = i >= kUpper;
            bool written = (x87 && (wanted & kXcr0X87)) || (mxcsr && (wanted & (kXcr0Sse | kXcr0Avx))) ||
                           (sse && (wanted & kXcr0Sse)) || (avx && (wanted & kXcr0Avx));
            uint8_t content = avx       ? state.upper_halves.bytes[i - kUpper]
                              : i < 512 ? state.fx.bytes[i]
                                        : uint8_t{0};
            uint8_t expected = written ? content : 0xee;
            if (i == kComponents) expected = static_cast<uint8_t>(0xee | wanted);
            ASSERT_EQ(image[i], expected) << "byte " << i << ", components " << wanted;
        }
    }
}

TEST_F(AvxStateTest, XrstorLoadsWhatIsRequestedAndThere) {
    put(kData, Bytes(kAreaBytes, 0));
    fill(7);
    state.fx.bytes[kFxMxcsr] = 0xa0;
    run_done(kXsave);
    const CpuState saved = state;
    for (uint64_t wanted = 0; wanted <= kAll; ++wanted)
        for (uint64_t present = 0; present <= kAll; ++present) {
            fill(90);
            state.fx.bytes[kFxMxcsr] = 0x80;
            const CpuState before = state;
            memory->write_number<uint64_t>(GuestPhys(kData + kComponents), present);
            request(wanted);
            run_done(kXrstor);
            auto byte = [&](uint64_t component, auto of) -> uint8_t {
                if (!(wanted & component)) return of(before);
                return present & component ? of(saved) : uint8_t{0};
            };
            EXPECT_EQ(state.fx.bytes[kFxXmm + 5],
                      byte(kXcr0Sse, [](const CpuState& from) { return from.fx.bytes[kFxXmm + 5]; }));
            EXPECT_EQ(state.upper_halves.bytes[200],
                      byte(kXcr0Avx, [](const CpuState& from) { return from.upper_halves.bytes[200]; }));
            bool loads_mxcsr = wanted & (kXcr0Sse | kXcr0Avx);
            EXPECT_EQ(state.fx.bytes[kFxMxcsr], loads_mxcsr ? 0xa0 : 0x80) << wanted << present;
        }
}

TEST_F(AvxStateTest, TheBareProcessorLoadsTheImageAlike) {
    if (!__builtin_cpu_supports("avx")) GTEST_SKIP() << "this host has no AVX";
    put(kData, Bytes(kAreaBytes, 0));
    run_done(kXsave);
    alignas(64) uint8_t image[kAreaBytes];
    std::ranges::copy(area(), image);
    alignas(16) uint8_t upper[16], lower[16];
    asm volatile("xrstor64 %2; vextractf128 $1, %%ymm13, %0; movups %%xmm13, %1; vzeroupper; fninit"
                 : "=m"(upper), "=m"(lower)
                 : "m"(image), "a"(7), "d"(0)
                 : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                   "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    unsigned mxcsr = kMxcsrInitial;
    asm volatile("ldmxcsr %0" : : "m"(mxcsr));
    EXPECT_TRUE(std::equal(upper, upper + 16, &state.upper_halves.bytes[13 * 16]));
    EXPECT_TRUE(std::equal(lower, lower + 16, &state.fx.bytes[kFxXmm + 13 * 16]));
}

TEST_F(AvxStateTest, AMissingPageOfTheUpperHalvesChangesNothing) {
    constexpr uint64_t kLastPage = 0xff000, kStart = kLastPage + kPageSize - 640;
    put(kStart, Bytes(640, 0x11));
    put(kStart + kComponents, Bytes(24, 0));
    put(kStart + kComponents, Bytes(1, kAll));
    put(kStart + kFxMxcsr, Bytes(4, 0));
    state.gpr[kRbx] = kStart;
    const CpuState before = state;
    run_fault(kXsave, kPf, kPfWrite);
    EXPECT_EQ(get(kStart + kUpper, 64), Bytes(64, 0x11));
    EXPECT_EQ(get(kStart, 16), Bytes(16, 0x11));
    run_fault(kXrstor, kPf);
    EXPECT_EQ(state.fx.bytes, before.fx.bytes);
    EXPECT_EQ(state.upper_halves.bytes, before.upper_halves.bytes);
    request(kXcr0X87 | kXcr0Sse);
    run_done(kXsave);
    run_done(kXrstor);
}

TEST_F(AvxStateTest, AvxNeedsSseInXcr0) {
    state.gpr[kRcx] = 0;
    for (uint64_t bad : {kXcr0X87 | kXcr0Avx, kXcr0Avx | kXcr0Sse, uint64_t{15}}) {
        request(bad);
        run_fault(kXsetbv, kGp);
    }
    request(kAll);
    run_done(kXsetbv);
    EXPECT_EQ(state.xcr0, kAll);
}

TEST_F(AvxStateTest, CpuidTellsTheSizeOfWhatIsEnabled) {
    for (uint64_t xcr0 : {uint64_t{3}, kAll}) {
        state.xcr0 = xcr0;
        state.gpr[kRax] = 0xd;
        state.gpr[kRcx] = 0;
        run_done({0x0f, 0xa2});
        EXPECT_EQ(state.gpr[kRbx], xsave_area_bytes(xcr0));
        state.gpr[kRbx] = kData;
    }
}

// Of the interpreter's AVX instructions; the translator's are asked by the tests of instructions.
TEST_F(AvxStateTest, MasksAndGathersNeedAvx) {
    const Bytes masked = {0xc4, 0xe2, 0x71, 0x2c, 0x03};        // vmaskmovps xmm0, xmm1, [rbx]
    const Bytes gather = {0xc4, 0xe2, 0x69, 0x90, 0x04, 0x0b};  // vpgatherdd xmm0, [rbx + xmm1], xmm2
    const Bytes bytes = {0xc5, 0xf9, 0xf7, 0xc1};               // vmaskmovdqu xmm0, xmm1
    state.gpr[kRdi] = kData;
    for (const Bytes& code : {masked, gather, bytes}) {
        fill(0);
        state.fx.bytes.fill(0);  // no element is selected
        run_done(code);
        state.cr0 |= kCr0Ts;
        run_fault(code, kNm);
        state.xcr0 = kXcr0X87 | kXcr0Sse;
        run_fault(code, kUd);
        state.cr0 &= ~kCr0Ts;
        state.xcr0 = kAll;
        state.cr4 &= ~kCr4Osxsave;
        run_fault(code, kUd);
        state.cr4 |= kCr4Osxsave;
    }
}

// What was loaded before the fault stays, and its part of the mask is clear.
TEST_F(AvxStateTest, AGatherGoesOnWhereItHasFaulted) {
    const Bytes gather = {0xc4, 0xe2, 0x6d, 0x90, 0x04, 0x0b};  // vpgatherdd ymm0, [rbx + ymm1], ymm2
    auto& upper = state.upper_halves.bytes;
    auto* xmm = &state.fx.bytes[kFxXmm];
    auto set = [&](unsigned reg, unsigned element, uint32_t value) {
        uint8_t* half = element < 4 ? xmm + reg * 16 : &upper[reg * 16];
        std::memcpy(half + element % 4 * 4, &value, 4);
    };
    auto of = [&](unsigned reg, unsigned element) {
        uint32_t value;
        std::memcpy(&value, (element < 4 ? xmm + reg * 16 : &upper[reg * 16]) + element % 4 * 4, 4);
        return value;
    };
    constexpr uint64_t kMissing = 0xa00000;
    for (unsigned i = 0; i < 8; ++i) {
        put(kData + 4 * i, Bytes(4, static_cast<uint8_t>(i + 1)));
        set(0, i, 0xabababab);
        set(1, i, i == 5 ? kMissing - kData : 4 * i);
        set(2, i, i == 2 ? 0x7fffffff : 0x80000000);
    }
    run_fault(gather, kPf);
    EXPECT_EQ(exception.cr2, kMissing);
    EXPECT_EQ(of(0, 4), 0x05050505u);
    EXPECT_EQ(of(0, 2), 0xababababu) << "masked off";
    EXPECT_EQ(of(0, 5), 0xababababu);
    EXPECT_EQ(of(2, 4), 0u);
    EXPECT_EQ(of(2, 5), 0x80000000u);
    map(kMissing, 0x9000, kKernelPage);
    run_done(gather);
    EXPECT_EQ(of(0, 5), 0x01010101u);
    EXPECT_EQ(of(0, 7), 0x08080808u);
    for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(of(2, i), 0u);
    EXPECT_EQ(state.upper_halves_used, 1);
}

TEST_F(AvxStateTest, MaskedElementsAreNotTouched) {
    const Bytes load = {0xc4, 0xe2, 0x75, 0x2c, 0x03}, store = {0xc4, 0xe2, 0x75, 0x2e, 0x03};
    constexpr uint64_t kEnd = 0x100000;  // nothing is mapped behind it
    state.gpr[kRbx] = kEnd - 16;
    std::memset(&state.fx.bytes[kFxXmm + 16], 0xff, 16);
    std::memset(&state.upper_halves.bytes[16], 0, 16);
    put(kEnd - 16, Bytes(16, 0x77));
    run_done(load);  // vmaskmovps ymm0, ymm1, [rbx]
    EXPECT_EQ(state.fx.bytes[kFxXmm + 15], 0x77);
    EXPECT_EQ(state.upper_halves.bytes[0], 0);
    state.fx.bytes[kFxXmm] = 0x42;
    run_done(store);
    EXPECT_EQ(get(kEnd - 16, 1), Bytes(1, 0x42));
    std::memset(&state.upper_halves.bytes[16], 0xff, 16);
    state.fx.bytes[kFxXmm] = 0x43;
    run_fault(load, kPf);
    run_fault(store, kPf, kPfWrite);
    EXPECT_EQ(get(kEnd - 16, 1), Bytes(1, 0x42)) << "nothing was written";
}

}  // namespace
}  // namespace lockstep::cpu
