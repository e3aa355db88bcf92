// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace lockstep {

uint64_t hash64(ByteSpan bytes, uint64_t seed) {
    return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

uint64_t hash64(std::span<const ByteSpan> parts) {
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    for (ByteSpan part : parts) XXH3_64bits_update(&state, part.data(), part.size());
    return XXH3_64bits_digest(&state);
}

}  // namespace lockstep
