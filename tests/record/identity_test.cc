// SPDX-License-Identifier: Apache-2.0
#include "record/identity.h"

#include <gtest/gtest.h>

#include <set>

#include "sample_log.h"

namespace lockstep::record {
namespace {

TEST(BuildIdentity, EqualSourcesAgreeAndOthersAreNamed) {
    BuildIdentity build = BuildIdentity::of_sources("0.1.0", "abc1234");
    EXPECT_EQ(difference(build, BuildIdentity::of_sources("0.1.0", "abc1234")), "");
    EXPECT_NE(difference(build, BuildIdentity::of_sources("0.1.0", "abc1234-dirty")), "");
    EXPECT_NE(difference(build, BuildIdentity::of_sources("0.1.1", "abc1234")), "");
    Bytes executable = {1, 2, 3}, other = {1, 2, 4};
    EXPECT_EQ(difference(BuildIdentity::of_executable("1", executable),
                         BuildIdentity::of_executable("1", executable)),
              "");
    EXPECT_NE(
        difference(BuildIdentity::of_executable("1", executable), BuildIdentity::of_executable("1", other)),
        "");
}

TEST(CpuIdentity, EachFieldOfTheTableMustAgree) {
    const CpuIdentity cpu = sample_start().cpu;
    EXPECT_EQ(difference(cpu, cpu), "");
    auto change = [](std::string& field) { field += "x"; };
    auto change_number = [](auto& field) { ++field; };
    auto change_any = [&](auto& field) {
        if constexpr (requires { field.bits; }) {
            field.bits ^= 1;
        } else if constexpr (
            requires { field += "x"; } && !requires { ++field; }) {
            change(field);
        } else {
            change_number(field);
        }
    };
#define LOCKSTEP_CPU_FIELD(type, name, text)                                                       \
    {                                                                                              \
        CpuIdentity other = cpu;                                                                   \
        change_any(other.name);                                                                    \
        std::string sentence = difference(cpu, other);                                             \
        EXPECT_NE(sentence.find(text), std::string::npos) << #name << ": " << sentence;            \
        EXPECT_EQ(decode_fields<CpuIdentity>(encode_fields(other), "a processor").value(), other); \
    }
    LOCKSTEP_CPU_FIELDS(LOCKSTEP_CPU_FIELD)
#undef LOCKSTEP_CPU_FIELD
}

TEST(CpuIdentity, MissingInstructionSetsAreNamed) {
    CpuIdentity cpu = sample_start().cpu, other = cpu;
    other.features.bits &= ~(uint64_t{1} << 13 | uint64_t{1} << 14);
    EXPECT_EQ(difference(cpu, other),
              "the processors are not compatible, they differ in the instruction sets (only there: avx2, "
              "bmi2; only here: "
              "none); use hosts with the same processor");
}

TEST(CpuFeatures, BitsAndPlacesAreDistinct) {
    std::set<unsigned> bits;
    std::set<std::tuple<uint32_t, uint32_t, CpuidRegister, unsigned>> places;
    for (const CpuFeature& feature : cpu_features()) {
        EXPECT_LT(feature.identity_bit, 64u);
        EXPECT_LT(feature.cpuid_bit, 32u);
        bits.insert(feature.identity_bit);
        places.insert({feature.leaf, feature.subleaf, feature.cpuid_register, feature.cpuid_bit});
    }
    EXPECT_EQ(bits.size(), cpu_features().size());
    EXPECT_EQ(places.size(), cpu_features().size());
}

}  // namespace
}  // namespace lockstep::record
