// SPDX-License-Identifier: Apache-2.0
// XSAVE and its relatives; the image of both components is compared with the bare CPU's.
#include "cpu_fixture.h"

namespace lockstep::cpu {
namespace {

using namespace x86;

const Bytes kXsave = {0x48, 0x0f, 0xae, 0x23}, kXrstor = {0x48, 0x0f, 0xae, 0x2b};
const Bytes kXgetbv = {0x0f, 0x01, 0xd0}, kXsetbv = {0x0f, 0x01, 0xd1};
constexpr uint64_t kBoth = kXcr0X87 | kXcr0Sse;
constexpr unsigned kComponents = 512, kCompaction = 520, kReserved = 528;

class XsaveTest : public CpuTest {
  protected:
    XsaveTest() {
        state.cr4 |= kCr4Osxsave;
        state.xcr0 = kBoth;
        state.gpr[kRbx] = kData;
        request(kBoth);
        for (unsigned i = kFxXmm; i < kFxEnd; ++i) state.fx.bytes[i] = static_cast<uint8_t>(i);
        for (unsigned i = 0; i < 8; ++i)
            for (unsigned byte = 0; byte < 10; ++byte)
                state.fx.bytes[kFxStack + i * 16 + byte] = static_cast<uint8_t>(i * 10 + byte);
        state.fx.bytes[kFxTag] = 0x81;
        state.fx.bytes[kFxMxcsr] = 0xa0;
        state.fx.bytes[kFxControl] = 0x7e;
    }
    void request(uint64_t components) {
        state.gpr[kRax] = components;
        state.gpr[kRdx] = 0;
    }
    Bytes area() { return get(kData, kXsaveLegacyBytes); }
    void expect_nothing_changed_by(const Bytes& code, uint8_t vector) {
        FxState before = state.fx;
        Bytes memory_before = area();
        run_fault(code, vector);
        EXPECT_EQ(state.fx.bytes, before.bytes);
        EXPECT_EQ(area(), memory_before);
    }
    static constexpr uint64_t kData = 0x9000;
};

TEST_F(XsaveTest, WritesWhatFxsaveWritesAndTheComponents) {
    put(kData, Bytes(kXsaveLegacyBytes, 0));
    run_done(kXsave);
    Bytes image = area();
    EXPECT_TRUE(std::equal(image.begin(), image.begin() + kFxEnd, state.fx.bytes.begin()));
    EXPECT_EQ(image[kComponents], kBoth);
    EXPECT_EQ(image[kCompaction], 0);
}

TEST_F(XsaveTest, LeavesWhatIsNotRequested) {
    for (uint64_t wanted : {uint64_t{0}, kXcr0X87, kXcr0Sse}) {
        put(kData, Bytes(kXsaveLegacyBytes, 0xee));
        request(wanted | 0xfc);  // components that XCR0 hasn't are ignored
        run_done(kXsave);
        Bytes image = area();
        for (unsigned i = 0; i < kXsaveLegacyBytes; ++i) {
            bool x87 = i < kFxMxcsr || (i >= kFxStack && i < kFxXmm);
            bool sse = (i >= kFxMxcsr && i < kFxStack) || (i >= kFxXmm && i < kFxEnd);
            bool written = (x87 && (wanted & kXcr0X87)) || (sse && (wanted & kXcr0Sse));
            uint8_t expected = written ? state.fx.bytes[i] : 0xee;
            if (i == kComponents) expected = static_cast<uint8_t>(0xee | wanted);
            ASSERT_EQ(image[i], expected) << "byte " << i << ", components " << wanted;
        }
    }
}

TEST_F(XsaveTest, ComponentsInTheirFirstStateCountAsInUse) {
    reset_fx(state.fx);
    put(kData, Bytes(kXsaveLegacyBytes, 0));
    run_done(kXsave);
    EXPECT_EQ(area()[kComponents], kBoth);
}

TEST_F(XsaveTest, TheBareProcessorLoadsTheImageAlike) {
    put(kData, Bytes(kXsaveLegacyBytes, 0));
    run_done(kXsave);
    alignas(64) uint8_t image[kXsaveLegacyBytes];
    std::ranges::copy(area(), image);
    FxState loaded;
    asm volatile("xrstor64 %1; fxsave64 %0; fninit"
                 : "=m"(loaded)
                 : "m"(image), "a"(3), "d"(0)
                 : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                   "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    unsigned mxcsr = kMxcsrInitial;
    asm volatile("ldmxcsr %0" : : "m"(mxcsr));
    normalise_fx(loaded);
    EXPECT_EQ(loaded.bytes, state.fx.bytes);
}

TEST_F(XsaveTest, XrstorLoadsWhatIsRequestedAndThere) {
    put(kData, Bytes(kXsaveLegacyBytes, 0));
    run_done(kXsave);
    FxState saved = state.fx, initial;
    reset_fx(initial);
    for (uint64_t wanted = 0; wanted <= kBoth; ++wanted) {
        for (uint64_t present = 0; present <= kBoth; ++present) {
            FxState before = initial;
            before.bytes[kFxXmm] = before.bytes[kFxStack] = 0x55;
            before.bytes[kFxTag] = 0xff;
            state.fx = before;
            memory->write_number<uint64_t>(GuestPhys(kData + kComponents), present);
            request(wanted);
            run_done(kXrstor);
            auto source = [&](uint64_t component) -> const FxState& {
                if (!(wanted & component)) return before;
                return present & component ? saved : initial;
            };
            EXPECT_EQ(state.fx.bytes[kFxTag], source(kXcr0X87).bytes[kFxTag]);
            EXPECT_EQ(state.fx.bytes[kFxControl], source(kXcr0X87).bytes[kFxControl]);
            EXPECT_EQ(state.fx.bytes[kFxStack], source(kXcr0X87).bytes[kFxStack]);
            EXPECT_EQ(state.fx.bytes[kFxXmm], source(kXcr0Sse).bytes[kFxXmm]);
            const FxState& mxcsr = wanted & kXcr0Sse ? saved : before;
            EXPECT_EQ(state.fx.bytes[kFxMxcsr], mxcsr.bytes[kFxMxcsr]);
        }
    }
}

TEST_F(XsaveTest, XrstorNormalises) {
    Bytes image(kXsaveLegacyBytes, 0);
    image[kFxControl] = 0x7f;
    image[kFxControl + 1] = 0x03;
    image[kFxStatus] = 0x81;  // an exception that is masked: the summary bit goes
    image[kFxInstruction] = 0x99;
    image[kFxStack + 12] = 0x77;
    image[kFxMxcsr] = 0x80;
    image[kComponents] = kBoth;
    put(kData, image);
    run_done(kXrstor);
    EXPECT_EQ(state.fx.bytes[kFxStatus], 0x01);
    EXPECT_EQ(state.fx.bytes[kFxInstruction], 0);
    EXPECT_EQ(state.fx.bytes[kFxStack + 12], 0);
    EXPECT_EQ(state.fx.bytes[kFxMxcsrMask], 0xff);
}

TEST_F(XsaveTest, XrstorRefusesAHeaderThatIsNotOfTheStandardForm) {
    for (auto [at, value] :
         {std::pair{kComponents, 4}, std::pair{kCompaction, 1}, std::pair{kCompaction + 7, 0x80},
          std::pair{kReserved, 1}, std::pair{kFxMxcsr + 2, 1}}) {
        put(kData, Bytes(kXsaveLegacyBytes, 0));
        put(kData + at, Bytes(1, static_cast<uint8_t>(value)));
        expect_nothing_changed_by(kXrstor, kGp);
    }
    // MXCSR isn't looked at where it isn't loaded.
    request(kXcr0X87);
    run_done(kXrstor);
}

TEST_F(XsaveTest, AlignmentAndAvailability) {
    for (const Bytes& code : {kXsave, kXrstor}) {
        state.gpr[kRbx] = kData + 16;
        expect_nothing_changed_by(code, kGp);
        state.gpr[kRbx] = kData;
        state.cr0 |= kCr0Ts;
        expect_nothing_changed_by(code, kNm);
        state.cr4 &= ~kCr4Osxsave;
        expect_nothing_changed_by(code, kUd);
        state.cr0 &= ~kCr0Ts;
        state.cr4 |= kCr4Osxsave;
    }
}

TEST_F(XsaveTest, AMissingSecondPageChangesNothing) {
    constexpr uint64_t kLastPage = 0xff000, kStart = kLastPage + kPageSize - 512;
    put(kStart, Bytes(512, 0x11));
    state.gpr[kRbx] = kStart;
    FxState before = state.fx;
    run_fault(kXsave, kPf, 2);  // of a write
    EXPECT_EQ(get(kStart, 512), Bytes(512, 0x11));
    run_fault(kXrstor, kPf);
    EXPECT_EQ(state.fx.bytes, before.bytes);
}

// The header lies on a page, and what comes before it doesn't.
TEST_F(XsaveTest, AMissingFirstPageChangesNothingAndIsLeftAloneWhereNothingOfItIsWanted) {
    const uint64_t start = kUserData - kComponents, header = physical(kUserData).value();
    state.gpr[kRbx] = start;
    const FxState before = state.fx;
    for (uint64_t wanted : {kXcr0X87, kXcr0Sse, kBoth}) {
        request(wanted);
        put64(header, 0);
        run_fault(kXsave, kPf, kPfWrite);
        EXPECT_EQ(exception.cr2, start);
        EXPECT_EQ(get64(header), 0u);
        put64(header, wanted);
        run_fault(kXrstor, kPf);
        EXPECT_EQ(exception.cr2, start);
        EXPECT_EQ(state.fx.bytes, before.bytes);
    }
    request(0);
    run_done(kXsave);
    run_done(kXrstor);
    put64(header, 0);
    request(kXcr0Sse);  // MXCSR is read
    run_fault(kXrstor, kPf);
    request(kXcr0X87);  // to be initialised: nothing is read
    run_done(kXrstor);
    EXPECT_EQ(state.fx.bytes[kFxTag], 0);
}

TEST_F(XsaveTest, AddressesThatAreNotCanonical) {
    constexpr uint64_t kFirstBad = 0x800000000000;
    const Bytes save_by_rsp = {0x48, 0x0f, 0xae, 0x24, 0x24}, restore_by_rsp = {0x48, 0x0f, 0xae, 0x2c, 0x24};
    for (uint64_t at : {kFirstBad, kFirstBad - kComponents}) {
        state.gpr[kRbx] = state.gpr[kRsp] = at;
        for (const Bytes& code : {kXsave, kXrstor}) run_fault(code, kGp);
        for (const Bytes& code : {save_by_rsp, restore_by_rsp}) run_fault(code, kSs_);
    }
}

TEST_F(XsaveTest, XgetbvAndXsetbv) {
    state.gpr[kRcx] = 0;
    request(kXcr0X87);
    run_done(kXsetbv);
    EXPECT_EQ(state.xcr0, kXcr0X87);
    state.gpr[kRax] = state.gpr[kRdx] = ~uint64_t{0};
    run_done(kXgetbv);
    EXPECT_EQ(state.gpr[kRax], kXcr0X87);
    EXPECT_EQ(state.gpr[kRdx], 0u);
    for (uint64_t bad : {uint64_t{0}, kXcr0Sse, uint64_t{7}}) {
        request(bad);
        run_fault(kXsetbv, kGp);
    }
    state.gpr[kRcx] = 1;
    request(kBoth);
    run_fault(kXsetbv, kGp);
    run_fault(kXgetbv, kGp);
    state.gpr[kRcx] = 0;
    state.cr4 &= ~kCr4Osxsave;
    run_fault(kXsetbv, kUd);
    run_fault(kXgetbv, kUd);
    EXPECT_EQ(state.xcr0, kXcr0X87);
}

TEST_F(XsaveTest, XsetbvIsForTheKernel) {
    enter_user();
    state.gpr[kRcx] = 0;
    request(kBoth);
    run_fault(kXsetbv, kGp);
    run_done(kXgetbv);
}

}  // namespace
}  // namespace lockstep::cpu
