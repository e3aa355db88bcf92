// SPDX-License-Identifier: Apache-2.0
#include "x86/cpuid.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "x86/control.h"
#include "x86/msr.h"

namespace lockstep::x86 {
namespace {

constexpr CpuidSource kV2{.model = CpuModel::kV2}, kV3{.model = CpuModel::kV3};

std::string text(std::initializer_list<uint32_t> words) {
    std::string out;
    for (uint32_t word : words) out.append(reinterpret_cast<const char*>(&word), 4);
    return out;
}

TEST(Cpuid, NamesTheVendorTheHypervisorAndTheBrand) {
    CpuidResult vendor = cpuid(kV2, 0, 0);
    EXPECT_EQ(text({vendor.ebx, vendor.edx, vendor.ecx}), "GenuineIntel");
    CpuidResult hypervisor = cpuid(kV2, 0x40000000, 0);
    EXPECT_EQ(text({hypervisor.ebx, hypervisor.ecx, hypervisor.edx}), "LockstepLock");
    CpuidResult brand = cpuid(kV2, 0x80000002, 0);
    EXPECT_EQ(text({brand.eax, brand.ebx, brand.ecx, brand.edx}), "Lockstep virtual");
}

TEST(Cpuid, ShowsTheFeaturesThatLinuxRequires) {
    uint32_t edx = cpuid(kV2, 1, 0).edx;
    for (unsigned bit : {0u, 3u, 5u, 6u, 8u, 13u, 15u, 24u, 25u, 26u}) EXPECT_TRUE(edx >> bit & 1) << bit;
    EXPECT_TRUE(cpuid(kV2, 0x80000001, 0).edx >> 29 & 1) << "long mode";
}

TEST(Cpuid, ShowsTheInstructionsForCryptography) {
    uint32_t ecx = cpuid(kV2, 1, 0).ecx;
    for (unsigned bit : {1u, 25u}) EXPECT_TRUE(ecx >> bit & 1) << bit;
    EXPECT_TRUE(cpuid(kV2, 7, 0).ebx >> 29 & 1) << "SHA";
}

TEST(Cpuid, HidesWhatIsNotDeterministicOrNotModelled) {
    uint32_t ecx = cpuid(kV2, 1, 0).ecx;
    for (unsigned bit : {3u, 12u, 28u, 29u, 30u}) EXPECT_FALSE(ecx >> bit & 1) << bit;
    uint32_t leaf7 = cpuid(kV2, 7, 0).ebx;
    for (unsigned bit : {4u, 5u, 7u, 11u, 16u, 18u, 20u}) EXPECT_FALSE(leaf7 >> bit & 1) << bit;
    for (uint32_t subleaf : {1u, 2u, 9u})
        EXPECT_EQ(cpuid(kV2, 0xd, subleaf), CpuidResult{}) << "XSAVEOPT, compacted forms, AVX";
    EXPECT_EQ(cpuid(kV2, 0xa, 0), CpuidResult{}) << "performance counters";
}

TEST(Cpuid, XsaveManagesTheX87AndSseRegisters) {
    EXPECT_TRUE(cpuid(kV2, 1, 0).ecx >> 26 & 1);
    EXPECT_EQ(cpuid(kV2, 0xd, 0), (CpuidResult{3, 576, 576, 0}));
}

TEST(Cpuid, TheThirdLevelHasItsInstructionsAndAComponentForThem) {
    constexpr uint32_t kFma = 1 << 12, kMovbe = 1 << 22, kAvx = 1 << 28, kF16c = 1 << 29;
    constexpr uint32_t kBmi1 = 1 << 3, kAvx2 = 1 << 5, kBmi2 = 1 << 8, kLzcnt = 1 << 5;
    constexpr uint32_t kLeaf1 = kFma | kMovbe | kAvx | kF16c, kLeaf7 = kBmi1 | kAvx2 | kBmi2;
    EXPECT_EQ(cpuid(kV3, 1, 0).ecx & kLeaf1, kLeaf1);
    EXPECT_EQ(cpuid(kV3, 7, 0).ebx & kLeaf7, kLeaf7);
    EXPECT_EQ(cpuid(kV3, 0x80000001, 0).ecx & kLzcnt, kLzcnt);
    EXPECT_EQ(cpuid(kV3, 7, 0).ebx >> 16 & 1, 0u) << "AVX-512";
    EXPECT_EQ(cpuid(kV3, 0xd, 0), (CpuidResult{7, 576, 832, 0}));
    CpuidSource enabled{.model = CpuModel::kV3, .xcr0 = 7};
    EXPECT_EQ(cpuid(enabled, 0xd, 0), (CpuidResult{7, 832, 832, 0}));
    EXPECT_EQ(cpuid(kV3, 0xd, 1), CpuidResult{}) << "XSAVEOPT, compacted forms";
    EXPECT_EQ(cpuid(kV3, 0xd, 2), (CpuidResult{256, 576, 0, 0}));
}

// Nothing but features differs: what Linux and glibc know the model by stays.
TEST(Cpuid, ModelsDifferInFeaturesAlone) {
    for (uint32_t leaf : {0u, 2u, 4u, 6u, 0xbu, 0x15u, 0x16u, 0x80000002u, 0x80000008u})
        EXPECT_EQ(cpuid(kV2, leaf, 0), cpuid(kV3, leaf, 0)) << leaf;
    EXPECT_EQ(cpuid(kV2, 1, 0).eax, cpuid(kV3, 1, 0).eax);
    EXPECT_EQ(cpuid(kV2, 1, 0).edx, cpuid(kV3, 1, 0).edx);
}

TEST(Cpuid, OsxsaveFollowsCr4) {
    EXPECT_FALSE(cpuid(kV2, 1, 0).ecx >> 27 & 1);
    EXPECT_TRUE(cpuid({.cr4 = kCr4Osxsave}, 1, 0).ecx >> 27 & 1);
}

TEST(Cpuid, TscFrequencyIsOneGigahertz) {
    CpuidResult crystal = cpuid(kV2, 0x15, 0);
    ASSERT_NE(crystal.eax, 0u);
    EXPECT_EQ(uint64_t{crystal.ecx} * crystal.ebx / crystal.eax, 1'000'000'000u);
    EXPECT_EQ(cpuid(kV2, 0x16, 0).eax, 1000u);
}

TEST(Cpuid, LeavesBeyondTheLastAnswerAsTheLastBasicLeaf) {
    CpuidResult last = cpuid(kV2, kCpuidMaxBasic, 0);
    EXPECT_EQ(cpuid(kV2, kCpuidMaxBasic + 1, 0), last);
    EXPECT_EQ(cpuid(kV2, 0x40000001, 0), last);
    EXPECT_EQ(cpuid(kV2, kCpuidMaxExtended + 1, 0), last);
}

TEST(Cpuid, TopologyIsOneThread) {
    EXPECT_EQ(cpuid(kV2, 0xb, 0), (CpuidResult{0, 1, 0x100, 0}));
    EXPECT_EQ(cpuid(kV2, 0xb, 1), (CpuidResult{0, 1, 0x201, 0}));
    EXPECT_EQ(cpuid(kV2, 0xb, 2).ebx, 0u);
}

TEST(Cpuid, CachesEndWithAnEmptyOne) {
    EXPECT_EQ(cpuid(kV2, 4, 0).eax & 31, 1u);
    CpuidResult l1 = cpuid(kV2, 4, 0);
    uint64_t bytes = uint64_t{(l1.ebx >> 22) + 1} * ((l1.ebx & 0xfff) + 1) * (l1.ecx + 1);
    EXPECT_EQ(bytes, 32u << 10);
    EXPECT_EQ(cpuid(kV2, 4, 4).eax & 31, 0u);
}

}  // namespace
}  // namespace lockstep::x86
