// SPDX-License-Identifier: Apache-2.0
#include "record/identity.h"

#include <gtest/gtest.h>

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
              "the processors are not compatible, they differ in the instruction sets (missing here: avx2, "
              "bmi2); use hosts with the same processor");
}

TEST(CpuIdentity, AHostMayHaveWhatTheGuestKnowsNothingOf) {
    CpuIdentity host = sample_start().cpu;
    host.features.bits = x86::identity_of(x86::CpuModel::kV3);
    CpuIdentity smaller = host.for_model(x86::CpuModel::kV2);
    EXPECT_EQ(smaller.features.bits, x86::identity_of(x86::CpuModel::kV2));
    EXPECT_EQ(difference(smaller, host), "");
    EXPECT_EQ(difference(host.for_model(x86::CpuModel::kV3), host), "");
    EXPECT_EQ(
        difference(host, smaller),
        "the processors are not compatible, they differ in the instruction sets (missing here: fma, avx, "
        "f16c, avx2); use hosts with the same processor, or start the VM with cpu = \"x86-64-v2\"");
}

}  // namespace
}  // namespace lockstep::record
