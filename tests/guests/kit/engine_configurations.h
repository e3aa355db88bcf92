// SPDX-License-Identifier: Apache-2.0
// The engine configurations that every instruction and guest test runs in.
#pragma once

#include <array>
#include <ostream>
#include <string_view>

#include "translate/engine_options.h"

namespace lockstep::guests {

struct EngineConfiguration {
    std::string_view name;
    translate::EngineOptions options;
};

/// For the messages of GoogleTest.
inline void PrintTo(const EngineConfiguration& configuration, std::ostream* out) {
    *out << configuration.name;
}

/// The code cache that is full all the time.
inline constexpr uint64_t kSmallCodeCache = 1 << 20;

inline constexpr std::array<EngineConfiguration, 16> kEngineConfigurations{{
    {"default", {}},
    {"single", {.block_limit = 1}},
    {"window", {.window_after = 0}},
    {"window_pairs", {.block_limit = 2, .window_after = 0}},
    {"unchained", {.chaining = false}},
    {"no_jump_cache", {.jump_cache = false}},
    {"no_jump_index", {.jump_index = false}},
    {"all_flags", {.dead_flags = false}},
    {"no_copies", {.copied_blocks = false}},
    {"single_copies", {.copied_chains = false}},
    {"basic_blocks", {.superblocks = false}},
    {"own_lookups", {.shared_lookups = false}},
    {"interpreted_system", {.inline_system = false}},
    {"interpreted_strings", {.inline_strings = false}},
    {"small_cache", {.code_cache_bytes = kSmallCodeCache}},
    {"plain",
     {.block_limit = 3,
      .chaining = false,
      .jump_cache = false,
      .jump_index = false,
      .dead_flags = false,
      .copied_blocks = false,
      .copied_chains = false,
      .superblocks = false,
      .shared_lookups = false,
      .inline_system = false,
      .inline_strings = false}},
}};

}  // namespace lockstep::guests
