// SPDX-License-Identifier: Apache-2.0
/* Recursive Fibonacci numbers: calls and returns. */
#define NAME "fib"
#include "bench.h"

__attribute__((noinline, optimize("no-optimize-sibling-calls"))) static uint64_t fib(unsigned n) {
    if (n < 2) return n;
    return fib(n - 1) + fib(n - 2);
}

static uint64_t workload(unsigned scale) {
    uint64_t hash = 1;
    for (unsigned i = 0; i < scale; i++) hash = mix(hash, fib(28 + (i & 1)));
    return hash;
}
