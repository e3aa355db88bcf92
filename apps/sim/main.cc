// SPDX-License-Identifier: Apache-2.0
// lockstep-sim: runs whole pairs in one process from seeds, with everything going wrong that can.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>

#include "sim/simulation.h"

namespace {

using lockstep::sim::Counts;
using lockstep::sim::Outcome;
using lockstep::sim::WorldOptions;

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Simulates protected VMs from seeds and checks what the outside sees", "lockstep-sim"};
    uint64_t seed = 1, count = 1;
    std::string plant;
    bool trace = false;
    app.add_option("--seed", seed, "the first seed")->capture_default_str();
    app.add_option("--count", count, "how many seeds to run")->capture_default_str();
    app.add_option("--plant", plant, "a bug that the checkers must find (see src/replica/hooks.h)");
    app.add_flag("--trace", trace, "print what happens");
    CLI11_PARSE(app, argc, argv);

    WorldOptions options;
    if (!plant.empty()) {
        options.plant = lockstep::sim::find_planted_bug(plant);
        if (!options.plant) {
            fmt::print(
                stderr,
                "lockstep-sim: there is no planted bug named {}: see src/replica/hooks.h for the names\n",
                plant);
            return 2;
        }
    }
    if (trace) options.trace = [](const std::string& line) { fmt::print("{}\n", line); };

    Counts counts;
    uint64_t failures = 0;
    for (uint64_t i = 0; i < count; ++i) {
        options.seed = seed + i;
        Outcome outcome = lockstep::sim::simulate(options);
        counts += outcome.counts;
        if (outcome.failure.empty()) continue;
        ++failures;
        fmt::print("seed {}: {}\n  repeat it with: lockstep-sim --seed {}{}{} --trace\n", options.seed,
                   outcome.failure, options.seed, plant.empty() ? "" : " --plant ", plant);
    }
    fmt::print("{} runs, {} failed\n{}", count, failures, counts.text());
    return failures == 0 ? 0 : 1;
}
