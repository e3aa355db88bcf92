// SPDX-License-Identifier: Apache-2.0
/* Triad and copy over arrays of floats that fit the second-level cache, with SSE. */
#define NAME "stream"
#include <emmintrin.h>

#include "bench.h"

enum { kCount = 1 << 15 };

static uint64_t workload(unsigned scale) {
    float *a = aligned_alloc(64, kCount * sizeof *a), *b = aligned_alloc(64, kCount * sizeof *b);
    float *c = aligned_alloc(64, kCount * sizeof *c);
    for (int i = 0; i < kCount; i++) {
        a[i] = (float)(next_random() >> 48) / 65536;
        b[i] = (float)(next_random() >> 48) / 65536;
    }
    __m128 factor = _mm_set1_ps(0.5f);
    for (unsigned round = 0; round < 150 * scale; round++) {
        for (int i = 0; i < kCount; i += 4)
            _mm_store_ps(&c[i], _mm_add_ps(_mm_load_ps(&a[i]), _mm_mul_ps(factor, _mm_load_ps(&b[i]))));
        for (int i = 0; i < kCount; i += 4) _mm_store_ps(&b[i], _mm_load_ps(&c[i]));
    }
    uint64_t hash = 1;
    for (int i = 0; i < kCount; i += 13) {
        uint32_t bits;
        memcpy(&bits, &b[i], sizeof bits);
        hash = mix(hash, bits);
    }
    return hash;
}
