// SPDX-License-Identifier: Apache-2.0
// The processor's registers as gdb sees them.
#pragma once

#include <string>

#include "base/bytes.h"
#include "cpu/cpu_state.h"

namespace lockstep::debug {

/// What gdb reads as target.xml: which registers there are, in which order.
std::string target_description();

/// All of them, in that order, as bytes of the guest; and the one with this number, or nothing.
Bytes registers_of(const cpu::CpuState& state);
Bytes register_of(const cpu::CpuState& state, size_t number);

inline constexpr size_t kGdbRip = 16;

}  // namespace lockstep::debug
