// SPDX-License-Identifier: Apache-2.0
// What the programs of this folder begin with: their arguments, and the bare CPU.
#pragma once

#include <string_view>

#include "oracle.h"

namespace lockstep::instructions {

/// Gives `parse` each argument that googletest doesn't know. One that it refuses ends the program with a sentence
/// that names `source`, whose head lists them.
void take_arguments(int argc, char** argv, bool (*parse)(std::string_view argument), const char* source);

/// All tests, with `oracle` there: it starts before the engines reserve address space. A failed check prints by
/// `dump`. Gives the exit status.
int run_tests_with(Oracle*& oracle, void (*dump)());

}  // namespace lockstep::instructions
