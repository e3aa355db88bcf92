// SPDX-License-Identifier: Apache-2.0
// The project's one checksum and state hash: XXH3 (64 bit), from libxxhash.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace lockstep {

/// Hash of a byte string; the same on every host.
uint64_t hash64(ByteSpan bytes, uint64_t seed = 0);
/// The same of the parts, one behind the other.
uint64_t hash64(std::span<const ByteSpan> parts);

}  // namespace lockstep
