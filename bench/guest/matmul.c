// SPDX-License-Identifier: Apache-2.0
/* Multiplication of matrices of doubles, vectorised with SSE2. */
#define NAME "matmul"
#include <emmintrin.h>

#include "bench.h"

enum { kSize = 128 };

static void multiply(const double *a, const double *b, double *c) {
    for (int i = 0; i < kSize; i++)
        for (int j = 0; j < kSize; j += 4) {
            __m128d low = _mm_setzero_pd(), high = _mm_setzero_pd();
            for (int k = 0; k < kSize; k++) {
                __m128d x = _mm_set1_pd(a[i * kSize + k]);
                low = _mm_add_pd(low, _mm_mul_pd(x, _mm_loadu_pd(&b[k * kSize + j])));
                high = _mm_add_pd(high, _mm_mul_pd(x, _mm_loadu_pd(&b[k * kSize + j + 2])));
            }
            _mm_storeu_pd(&c[i * kSize + j], low);
            _mm_storeu_pd(&c[i * kSize + j + 2], high);
        }
}

static uint64_t workload(unsigned scale) {
    size_t bytes = kSize * kSize * sizeof(double);
    double *a = allocate(bytes), *b = allocate(bytes), *c = allocate(bytes);
    for (int i = 0; i < kSize * kSize; i++) {
        a[i] = (double)(next_random() >> 40) / (1 << 24);
        b[i] = (double)(next_random() >> 40) / (1 << 24);
    }
    uint64_t hash = 1;
    for (unsigned round = 0; round < 2 * scale; round++) {
        multiply(a, b, c);
        for (int i = 0; i < kSize; i++) a[i * kSize + (int)(round % kSize)] = c[i * kSize + i] / kSize;
        uint64_t bits;
        memcpy(&bits, &c[round * 31 % (kSize * kSize)], sizeof bits);
        hash = mix(hash, bits);
    }
    return hash;
}
