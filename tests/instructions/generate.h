// SPDX-License-Identifier: Apache-2.0
// Makes cases out of seeds: one instruction of a given form, or a sequence.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "forms.h"
#include "random.h"
#include "sandbox.h"

namespace lockstep::instructions {

enum class Neighbours : uint8_t { kSome, kNone };

/// One instruction of forms()[form], often with neighbours that read or overwrite the flags; see generate.cc.
Case generate_form_case(size_t form, uint64_t seed, Neighbours neighbours = Neighbours::kSome);

/// 2 to 40 instructions with branches forward, loops, calls and string instructions; see
/// generate_sequence.cc.
Case generate_sequence_case(uint64_t seed);

/// 1 to 4 instructions of 32-bit code; see generate_narrow.cc.
Case generate_narrow_case(uint64_t seed);

/// Cases that an engine once got wrong.
std::vector<Case> generate_known_cases();

/// Some instructions of random bytes, or of a form with some bits changed: what an attacker would try.
Bytes random_code(Random& random);
/// A case of such code; see generate_random.cc.
Case generate_random_case(uint64_t seed);
/// Whether the bare CPU may run a random case, and its outcome says what the engine's must be.
bool can_be_judged(const Case& test_case);

/// The case with this name ("form:<number>:<seed>", "sequence:<seed>", "random:<seed>",
/// "narrow:<seed>", "known:<name>").
Result<Case> generate_named_case(std::string_view name);

}  // namespace lockstep::instructions
