// SPDX-License-Identifier: Apache-2.0
#include "sim/simulation.h"

#include "sim/faults.h"

namespace lockstep::sim {

namespace {
constexpr Micros kChaosEnd = 5'000 * kMillisecond;
constexpr Micros kClientEnd = 5'700 * kMillisecond;
constexpr Micros kLatest = 20'000 * kMillisecond;
constexpr Micros kStep = 250 * kMillisecond;
}  // namespace

Outcome simulate(const WorldOptions& options) {
    World world(options);
    Faults faults(world);
    faults.start(kChaosEnd);
    world.run(kChaosEnd);
    faults.end();
    world.run(kClientEnd);
    world.stop_client();
    while (world.now() < kLatest && !world.checker().failed() && !world.settled())
        world.run(world.now() + kStep);
    world.finish();
    return {options.seed, world.checker().failure(), world.trace_hash(), world.counts()};
}

std::optional<replica::PlantedBug> find_planted_bug(std::string_view option) {
#define LOCKSTEP_PLANTED_BUG(name, text, what) \
    if (option == text) return replica::PlantedBug::name;
    LOCKSTEP_PLANTED_BUGS(LOCKSTEP_PLANTED_BUG)
#undef LOCKSTEP_PLANTED_BUG
    return std::nullopt;
}

}  // namespace lockstep::sim
