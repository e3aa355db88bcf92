// SPDX-License-Identifier: Apache-2.0
// One run from a seed: a guest is protected, things go wrong for a while, then they stop going wrong.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "sim/world.h"

namespace lockstep::sim {

struct Outcome {
    uint64_t seed = 0;
    std::string failure;  ///< the first failure of a checker; empty: none
    uint64_t trace_hash = 0;
    Counts counts;
};

Outcome simulate(const WorldOptions& options);

/// The planted bug of this name on the command line.
std::optional<replica::PlantedBug> find_planted_bug(std::string_view option);

}  // namespace lockstep::sim
