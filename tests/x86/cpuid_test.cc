// SPDX-License-Identifier: Apache-2.0
#include "x86/cpuid.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "x86/control.h"
#include "x86/msr.h"

namespace lockstep::x86 {
namespace {

std::string text(std::initializer_list<uint32_t> words) {
    std::string out;
    for (uint32_t word : words) out.append(reinterpret_cast<const char*>(&word), 4);
    return out;
}

TEST(Cpuid, NamesTheVendorTheHypervisorAndTheBrand) {
    CpuidResult vendor = cpuid(0, 0, 0);
    EXPECT_EQ(text({vendor.ebx, vendor.edx, vendor.ecx}), "GenuineIntel");
    CpuidResult hypervisor = cpuid(0x40000000, 0, 0);
    EXPECT_EQ(text({hypervisor.ebx, hypervisor.ecx, hypervisor.edx}), "LockstepLock");
    CpuidResult brand = cpuid(0x80000002, 0, 0);
    EXPECT_EQ(text({brand.eax, brand.ebx, brand.ecx, brand.edx}), "Lockstep virtual");
}

TEST(Cpuid, ShowsTheFeaturesThatLinuxRequires) {
    uint32_t edx = cpuid(1, 0, 0).edx;
    for (unsigned bit : {0u, 3u, 5u, 6u, 8u, 13u, 15u, 24u, 25u, 26u}) EXPECT_TRUE(edx >> bit & 1) << bit;
    EXPECT_TRUE(cpuid(0x80000001, 0, 0).edx >> 29 & 1) << "long mode";
}

TEST(Cpuid, ShowsTheInstructionsForCryptography) {
    uint32_t ecx = cpuid(1, 0, 0).ecx;
    for (unsigned bit : {1u, 25u}) EXPECT_TRUE(ecx >> bit & 1) << bit;
    EXPECT_TRUE(cpuid(7, 0, 0).ebx >> 29 & 1) << "SHA";
}

TEST(Cpuid, HidesWhatIsNotDeterministicOrNotModelled) {
    uint32_t ecx = cpuid(1, 0, 0).ecx;
    for (unsigned bit : {3u, 12u, 28u, 29u, 30u}) EXPECT_FALSE(ecx >> bit & 1) << bit;
    uint32_t leaf7 = cpuid(7, 0, 0).ebx;
    for (unsigned bit : {4u, 5u, 7u, 11u, 16u, 18u, 20u}) EXPECT_FALSE(leaf7 >> bit & 1) << bit;
    for (uint32_t subleaf : {1u, 2u, 9u})
        EXPECT_EQ(cpuid(0xd, subleaf, 0), CpuidResult{}) << "XSAVEOPT, compacted forms, AVX";
    EXPECT_EQ(cpuid(0xa, 0, 0), CpuidResult{}) << "performance counters";
}

TEST(Cpuid, XsaveManagesTheX87AndSseRegisters) {
    EXPECT_TRUE(cpuid(1, 0, 0).ecx >> 26 & 1);
    EXPECT_EQ(cpuid(0xd, 0, 0), (CpuidResult{3, 576, 576, 0}));
}

TEST(Cpuid, OsxsaveFollowsCr4) {
    EXPECT_FALSE(cpuid(1, 0, 0).ecx >> 27 & 1);
    EXPECT_TRUE(cpuid(1, 0, kCr4Osxsave).ecx >> 27 & 1);
}

TEST(Cpuid, TscFrequencyIsOneGigahertz) {
    CpuidResult crystal = cpuid(0x15, 0, 0);
    ASSERT_NE(crystal.eax, 0u);
    EXPECT_EQ(uint64_t{crystal.ecx} * crystal.ebx / crystal.eax, 1'000'000'000u);
    EXPECT_EQ(cpuid(0x16, 0, 0).eax, 1000u);
}

TEST(Cpuid, LeavesBeyondTheLastAnswerAsTheLastBasicLeaf) {
    CpuidResult last = cpuid(kCpuidMaxBasic, 0, 0);
    EXPECT_EQ(cpuid(kCpuidMaxBasic + 1, 0, 0), last);
    EXPECT_EQ(cpuid(0x40000001, 0, 0), last);
    EXPECT_EQ(cpuid(kCpuidMaxExtended + 1, 0, 0), last);
}

TEST(Cpuid, TopologyIsOneThread) {
    EXPECT_EQ(cpuid(0xb, 0, 0), (CpuidResult{0, 1, 0x100, 0}));
    EXPECT_EQ(cpuid(0xb, 1, 0), (CpuidResult{0, 1, 0x201, 0}));
    EXPECT_EQ(cpuid(0xb, 2, 0).ebx, 0u);
}

TEST(Cpuid, CachesEndWithAnEmptyOne) {
    EXPECT_EQ(cpuid(4, 0, 0).eax & 31, 1u);
    CpuidResult l1 = cpuid(4, 0, 0);
    uint64_t bytes = uint64_t{(l1.ebx >> 22) + 1} * ((l1.ebx & 0xfff) + 1) * (l1.ecx + 1);
    EXPECT_EQ(bytes, 32u << 10);
    EXPECT_EQ(cpuid(4, 4, 0).eax & 31, 0u);
}

}  // namespace
}  // namespace lockstep::x86
