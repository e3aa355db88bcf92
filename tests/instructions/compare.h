// SPDX-License-Identifier: Apache-2.0
// Compares what the engine did with what the bare CPU did.
#pragma once

#include <string>

#include "sandbox.h"

namespace lockstep::instructions {

/// A line for each difference; empty where there is none.
std::string compare(const Case& test_case, const Outcome& expected, const Outcome& actual);

/// The same for two states of engines at one icount: they must be equal to the last bit.
std::string compare_states(const UserState& expected, const UserState& actual);

/// How a case starts, its code, and the command that repeats it.
std::string describe(const Case& test_case);

}  // namespace lockstep::instructions
