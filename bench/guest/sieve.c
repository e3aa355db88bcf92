// SPDX-License-Identifier: Apache-2.0
/* The sieve of Eratosthenes over bytes: long strides of stores. */
#define NAME "sieve"
#include "bench.h"

static uint64_t workload(unsigned scale) {
    enum { kLimit = 1 << 20 };
    uint8_t *composite = allocate(kLimit);
    uint64_t hash = 1;
    for (unsigned round = 0; round < scale; round++) {
        memset(composite, 0, kLimit);
        uint64_t primes = 0;
        for (uint32_t i = 2 + (round & 1); i < kLimit; i++) {
            if (composite[i]) continue;
            primes++;
            for (uint64_t j = (uint64_t)i * i; j < kLimit; j += i) composite[j] = 1;
        }
        hash = mix(hash, primes);
    }
    return hash;
}
