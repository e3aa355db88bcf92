// SPDX-License-Identifier: Apache-2.0
#include "x86/features.h"

#include <gtest/gtest.h>

#include <set>
#include <tuple>

namespace lockstep::x86 {
namespace {

TEST(Features, BitsAndPlacesAreDistinct) {
    std::set<unsigned> bits;
    std::set<std::tuple<uint32_t, CpuidRegister, unsigned>> places;
    size_t identities = 0;
    for (const FeatureRow& row : kFeatures) {
        EXPECT_LT(row.bit, 32u) << row.name;
        places.insert({row.leaf, row.cpuid_register, row.bit});
        if (row.identity_bit == kNoIdentity) continue;
        EXPECT_LT(row.identity_bit, 64u) << row.name;
        bits.insert(row.identity_bit);
        ++identities;
    }
    EXPECT_EQ(bits.size(), identities);
    EXPECT_EQ(places.size(), kFeatures.size());
}

// The host's processor is asked for them, and must agree.
TEST(Features, WhatTheHostExecutesIsPartOfItsIdentity) {
    for (const FeatureRow& row : kFeatures)
        EXPECT_TRUE(row.executor == Executor::kEngine || row.identity_bit != kNoIdentity) << row.name;
}

// Bits are part of the format of logs.
TEST(Features, IdentityBitsStayWhatTheyAre) {
    EXPECT_EQ(identity_of(CpuModel::kV2), 0x7ffffu & ~(1u << 3 | 1u << 10 | 1u << 11 | 1u << 13));
    EXPECT_EQ(identity_of(CpuModel::kV3), 0x7ffffu);
}

TEST(Features, EachModelHasAllOfThoseBefore) {
    for (const FeatureRow& row : kFeatures)
        EXPECT_TRUE(!offers(CpuModel::kV2, row) || offers(CpuModel::kV3, row)) << row.name;
    EXPECT_EQ(xcr0_of(CpuModel::kV2), 3u);
    EXPECT_EQ(xcr0_of(CpuModel::kV3), 7u);
    EXPECT_EQ(xsave_area_bytes(3), 576u);
    EXPECT_EQ(xsave_area_bytes(7), 832u);
}

TEST(Features, ModelsAreFoundByTheirNames) {
    EXPECT_EQ(model_named("x86-64-v2"), CpuModel::kV2);
    EXPECT_EQ(model_named("x86-64-v3"), CpuModel::kV3);
    EXPECT_FALSE(model_named("x86-64-v4"));
    EXPECT_EQ(name_of(CpuModel::kV3), "x86-64-v3");
}

}  // namespace
}  // namespace lockstep::x86
