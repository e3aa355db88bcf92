// SPDX-License-Identifier: Apache-2.0
#include "replica/state.h"

#include <cstddef>

namespace lockstep::replica {

namespace {

struct Row {
    std::string_view name;
    std::string_view text;
};

constexpr Row kRows[] = {
#define LOCKSTEP_STATE(name, text) {std::string_view(#name).substr(1), text},
    LOCKSTEP_REPLICA_STATES(LOCKSTEP_STATE)
#undef LOCKSTEP_STATE
};

}  // namespace

std::string_view name_of(State state) { return kRows[static_cast<size_t>(state)].name; }
std::string_view text_of(State state) { return kRows[static_cast<size_t>(state)].text; }

}  // namespace lockstep::replica
