// SPDX-License-Identifier: Apache-2.0
// The decoder's instruction-set extensions whose instructions are executed natively, by x86/features.inc. Whether a guest
// has them is a question of its mode: without AVX in XCR0 none of its instructions is available, and a model that doesn't
// offer AVX doesn't let it be put there.
#pragma once

#include <Zydis/Zydis.h>

#include <array>
#include <optional>

#include "x86/features.h"

namespace lockstep::translate {

/// Which registers the instructions of an extension work on; empty: it is offered by no model.
constexpr std::optional<x86::Component> registers_of(ZydisISAExt extension) {
    constexpr auto kByExtension = [] {
        std::array<std::optional<x86::Component>, ZYDIS_ISA_EXT_MAX_VALUE + 1> table{};
#define LOCKSTEP_EXTENSION(name, feature) \
    table[ZYDIS_ISA_EXT_##name] = x86::component_of(x86::Feature::feature);
#include "x86/features.inc"
        return table;
    }();
    return kByExtension[extension];
}

constexpr bool is_offered(ZydisISAExt extension) { return registers_of(extension).has_value(); }

}  // namespace lockstep::translate
