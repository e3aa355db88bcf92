// SPDX-License-Identifier: Apache-2.0
/* Pseudo-random file content that the guest's web server and the load client both know: the 8-byte word at
 * offset 8 * i of the file with a given seed, little-endian. Any byte can be worked out by itself. */
#pragma once

#include <stdint.h>

static inline uint64_t content_word(uint64_t seed, uint64_t i) {
    uint64_t z = seed * 0xd1342543de82ef95u + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
