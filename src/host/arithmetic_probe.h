// SPDX-License-Identifier: Apache-2.0
// Results that the architecture leaves to the maker of the processor.
#pragma once

#include <cstdint>

namespace lockstep::host {

/// A hash of the results of a fixed set of instructions on fixed operands: the approximations RCPPS and
/// RSQRTPS, the x87 transcendental functions, and the flags and results that the manual calls undefined. Two
/// processors of equal hashes are taken to compute alike; it is a sample, not a proof.
uint64_t probe_arithmetic();

}  // namespace lockstep::host
