// SPDX-License-Identifier: Apache-2.0
// The version of the program, for people; what makes two builds compatible is the hash of the executable.
#pragma once

#include <string_view>

namespace lockstep::vmm {

inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace lockstep::vmm
