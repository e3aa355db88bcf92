// SPDX-License-Identifier: Apache-2.0
/* SHA-256 in plain C: rotates, additions and logic in registers. */
#define NAME "sha256"
#include "bench.h"

static uint32_t k[64];

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void compress(uint32_t state[8], const uint32_t block[16]) {
    uint32_t w[64], s[8];
    memcpy(w, block, 64);
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    memcpy(s, state, 32);
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25);
        uint32_t t1 = s[7] + s1 + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
        uint32_t s0 = rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22);
        uint32_t t2 = s0 + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 28);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) state[i] += s[i];
}

static uint64_t workload(unsigned scale) {
    uint32_t state[8], block[16];
    for (int i = 0; i < 64; i++) k[i] = (uint32_t)next_random();
    for (int i = 0; i < 8; i++) state[i] = (uint32_t)next_random();
    for (unsigned round = 0; round < 4000 * scale; round++) {
        for (int i = 0; i < 16; i++) block[i] = round * 16 + (uint32_t)i;
        compress(state, block);
    }
    return (uint64_t)state[0] << 32 | state[7];
}
