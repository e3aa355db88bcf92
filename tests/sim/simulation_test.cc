// SPDX-License-Identifier: Apache-2.0
// Whole pairs from seeds. What fails here is repeated with: lockstep-sim --seed N --trace
#include "sim/simulation.h"

#include <gtest/gtest.h>

namespace lockstep::sim {
namespace {

constexpr uint64_t kSeeds = 3000;

/// No planted bug may stay unnoticed for so many seeds.
constexpr uint64_t kPlantedSeeds = 3000;

TEST(Simulation, EverythingStaysTrueWhateverGoesWrong) {
    Counts counts;
    uint64_t first = 1'000'000;
    for (uint64_t seed = first; seed < first + kSeeds; ++seed) {
        WorldOptions options;
        options.seed = seed;
        Outcome outcome = simulate(options);
        EXPECT_EQ(outcome.failure, "") << "repeat it with: lockstep-sim --seed " << seed << " --trace";
        counts += outcome.counts;
    }
#define LOCKSTEP_SIM_COUNT(name, text) EXPECT_GT(counts.name, 0u) << "the simulation never reached: " << text;
    LOCKSTEP_SIM_COUNTS(LOCKSTEP_SIM_COUNT)
#undef LOCKSTEP_SIM_COUNT
    EXPECT_GT(counts.answers * 10, counts.requests * 9) << "the guest hardly ever answers";
}

/// What long runs have found.
TEST(Simulation, NothingThatFailedOnceFailsAgain) {
    for (uint64_t seed : {7063953}) {  // an output acknowledged late, and without a lease then
        WorldOptions options;
        options.seed = seed;
        EXPECT_EQ(simulate(options).failure, "")
            << "repeat it with: lockstep-sim --seed " << seed << " --trace";
    }
}

TEST(Simulation, TheSameSeedTwiceIsTheSameRun) {
    for (uint64_t seed = 1; seed < 100; ++seed) {
        WorldOptions options;
        options.seed = seed;
        Outcome first = simulate(options), second = simulate(options);
        EXPECT_EQ(first.trace_hash, second.trace_hash) << seed;
        EXPECT_EQ(first.counts.events, second.counts.events) << seed;
    }
}

TEST(Simulation, AnotherSeedIsAnotherRun) {
    WorldOptions options;
    options.seed = 1;
    uint64_t first = simulate(options).trace_hash;
    options.seed = 2;
    EXPECT_NE(first, simulate(options).trace_hash);
}

TEST(Simulation, TracingChangesNothing) {
    WorldOptions options;
    options.seed = 3;
    uint64_t silent = simulate(options).trace_hash;
    size_t lines = 0;
    options.trace = [&](const std::string&) { ++lines; };
    EXPECT_EQ(silent, simulate(options).trace_hash);
    EXPECT_GT(lines, 0u);
}

class PlantedBugs : public testing::TestWithParam<const char*> {};

TEST_P(PlantedBugs, AreFound) {
    WorldOptions options;
    options.plant = find_planted_bug(GetParam());
    ASSERT_TRUE(options.plant);
    for (uint64_t seed = 1; seed <= kPlantedSeeds; ++seed) {
        options.seed = seed;
        std::string failure = simulate(options).failure;
        if (failure.empty()) continue;
        RecordProperty("found", failure);
        options.plant.reset();
        EXPECT_EQ(simulate(options).failure, "") << "seed " << seed << " fails without the bug too";
        return;
    }
    FAIL() << "no checker noticed the planted bug " << GetParam() << " in " << kPlantedSeeds << " seeds";
}

std::string test_name(const testing::TestParamInfo<const char*>& info) {
    std::string name = info.param;
    for (char& c : name)
        if (c == '-') c = '_';
    return name;
}

constexpr const char* kPlants[] = {
#define LOCKSTEP_PLANTED_BUG(name, option, text) option,
    LOCKSTEP_PLANTED_BUGS(LOCKSTEP_PLANTED_BUG)
#undef LOCKSTEP_PLANTED_BUG
};
INSTANTIATE_TEST_SUITE_P(Simulation, PlantedBugs, testing::ValuesIn(kPlants), test_name);

TEST(Simulation, AnUnknownBugIsNoBug) { EXPECT_FALSE(find_planted_bug("none-of-these")); }

}  // namespace
}  // namespace lockstep::sim
