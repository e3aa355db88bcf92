// SPDX-License-Identifier: Apache-2.0
// Text that somebody else wrote (the other side of a pair, a file on shared storage), made fit to be shown.
#pragma once

#include <string>
#include <string_view>

namespace lockstep {

inline constexpr size_t kLongestForeignText = 200;

/// `text` in one line of valid UTF-8 without control characters, at most kLongestForeignText characters long:
/// line breaks and tabs become blanks, other controls and what reverses the order of letters are left out,
/// bytes that are no UTF-8 become '?', and "..." stands where it was cut. So it can forge no line of a log,
/// change no terminal, and be put into JSON.
std::string foreign_text(std::string_view text);

}  // namespace lockstep
