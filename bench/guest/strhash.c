// SPDX-License-Identifier: Apache-2.0
/* Splits text into words and counts them by hash: bytes and short loops. */
#define NAME "strhash"
#include "bench.h"

static uint64_t workload(unsigned scale) {
    size_t size = 1 << 20;
    char *text = allocate(size + 1);
    for (size_t i = 0; i < size; i++) {
        uint64_t r = next_random();
        text[i] = r % 6 == 0 ? ' ' : (char)('a' + (r >> 32) % 26);
    }
    uint32_t *counts = allocate(65536 * sizeof *counts);
    uint64_t hash = 1;
    for (unsigned round = 0; round < scale; round++) {
        for (const char *p = text; *p;) {
            uint64_t word = 14695981039346656037u;
            while (*p && *p != ' ') word = (word ^ (uint8_t)*p++) * 1099511628211u;
            while (*p == ' ') p++;
            counts[word >> 48]++;
        }
        hash = mix(hash, counts[round * 7 & 0xffff]);
    }
    for (int i = 0; i < 65536; i++) hash = mix(hash, counts[i]);
    return hash;
}
