// SPDX-License-Identifier: Apache-2.0
#include "host/host_cpu.h"

#include <thread>

#include "host/arithmetic_probe.h"
#include "host/limits.h"
#include "support.h"

namespace lockstep::host {
namespace {

TEST(HostCpu, TheIdentityIsTheSameEveryTime) {
    record::CpuIdentity identity = host_cpu_identity();
    EXPECT_EQ(identity.vendor.size(), 12u) << identity.vendor;
    EXPECT_NE(identity.family, 0u);
    EXPECT_NE(identity.features.bits & 1, 0u) << "every 64-bit processor since 2006 has SSE3";
    EXPECT_NE(identity.mxcsr_mask & 0x8000, 0u) << "flush to zero";
    EXPECT_NE(identity.arithmetic, 0u);
    for (int i = 0; i < 3; i++) EXPECT_EQ(record::difference(identity, host_cpu_identity()), "");
    std::thread([&] { EXPECT_EQ(host_cpu_identity(), identity); }).join();
    EXPECT_FALSE(host_cpu_brand().empty());
}

// The probe must not depend on what the thread computed before.
TEST(HostCpu, TheProbeIsFreeOfTheThreadsState) {
    uint64_t first = probe_arithmetic();
    asm volatile("fldpi\n\tfsin\n\tfstp %%st(0)\n\tstc" ::: "cc", "st");
    EXPECT_EQ(probe_arithmetic(), first);
}

TEST(HostCpu, TheBuildIsThatOfTheExecutable) {
    auto build = own_build_identity("0.1");
    ASSERT_TRUE(build.ok());
    EXPECT_EQ(build.value(), own_build_identity("0.1").value());
    EXPECT_NE(build.value().hash, 0u);
}

TEST(Limits, WhatIsMissingIsNamed) {
    EXPECT_GT(available_memory(), 0u);
    EXPECT_GT(max_map_count(), 0u);
    std::vector<std::string> nothing = missing_on_host({});
    HostNeeds too_much{.memory_bytes = uint64_t{1} << 60, .mappings = uint64_t{1} << 60};
    std::vector<std::string> missing = missing_on_host(too_much);
    ASSERT_EQ(missing.size(), nothing.size() + 2);
    expect_contains(missing[0], "MiB");
    expect_contains(missing[1], "sysctl vm.max_map_count=");
    EXPECT_FALSE(check_host(too_much).ok());
    EXPECT_EQ(check_host({}).ok(), nothing.empty());
}

}  // namespace
}  // namespace lockstep::host
