// SPDX-License-Identifier: Apache-2.0
// What the two generators share: registers, floating-point state, addresses.
#pragma once

#include "assemble.h"
#include "random.h"
#include "sandbox.h"

namespace lockstep::instructions {

/// Registers full of interesting numbers; flags, x87, MMX and SSE state included. RIP and RSP are left alone.
void randomise_state(Random& random, UserState& state);

/// An image that FXRSTOR accepts. `likes_floats`: more floating-point values than bit patterns.
cpu::FxState random_fx(Random& random, bool likes_floats);
/// All zero every other time.
cpu::UpperHalves random_upper_halves(Random& random, bool likes_floats);
/// A value of MXCSR with every exception masked.
uint32_t random_mxcsr(Random& random);
/// 8 bytes: a double, two floats or bits.
uint64_t random_float_bits(Random& random);

enum class Reach : uint8_t { kAnywhere, kLow };

/// An address for an access of `size` bytes: mostly where it succeeds, often across pages, sometimes where it
/// fails. kLow: reachable by a 32-bit displacement.
uint64_t pick_target(Random& random, unsigned size, Reach reach);

/// Adds the patch unless a byte of it is outside the sandbox.
bool add_patch(Case& test_case, uint64_t address, Bytes bytes);
bool add_patch(Case& test_case, uint64_t address, uint64_t value, unsigned size);

}  // namespace lockstep::instructions
