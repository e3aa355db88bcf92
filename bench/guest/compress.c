// SPDX-License-Identifier: Apache-2.0
/* A small Lempel-Ziv coder and decoder: string matching, copies that overlap, mixed sizes. */
#define NAME "compress"
#include "bench.h"

enum { kSize = 1 << 18, kHashBits = 14 };

static size_t encode(const uint8_t *in, uint8_t *out) {
    static int32_t last[1 << kHashBits];
    memset(last, 0xff, sizeof last);
    uint8_t *o = out;
    for (int i = 0; i < kSize;) {
        uint32_t head = 0;
        if (i + 4 <= kSize) memcpy(&head, in + i, 4);
        uint32_t slot = head * 2654435761u >> (32 - kHashBits);
        int from = last[slot], length = 0;
        last[slot] = i;
        if (from >= 0 && i - from < 65536)
            while (length < 255 && i + length < kSize && in[from + length] == in[i + length]) length++;
        if (length >= 5) {
            *o++ = 1;
            *o++ = (uint8_t)length;
            *o++ = (uint8_t)(i - from);
            *o++ = (uint8_t)((i - from) >> 8);
            i += length;
        } else {
            *o++ = 0;
            *o++ = in[i++];
        }
    }
    return (size_t)(o - out);
}

static size_t decode(const uint8_t *in, size_t size, uint8_t *out) {
    uint8_t *o = out;
    for (const uint8_t *end = in + size; in < end;) {
        if (*in++ == 0) {
            *o++ = *in++;
        } else {
            int length = *in++, distance = in[0] | in[1] << 8;
            in += 2;
            for (; length > 0; length--, o++) *o = o[-distance];
        }
    }
    return (size_t)(o - out);
}

static uint64_t workload(unsigned scale) {
    uint8_t *text = allocate(kSize), *packed = allocate(2 * kSize), *back = allocate(kSize);
    for (int i = 0; i < kSize;) {
        uint64_t r = next_random();
        if (i > 1000 && r % 3) {
            for (int n = 4 + (int)(r >> 8 & 31), from = i - 1 - (int)(r >> 16 & 511); n && i < kSize; n--)
                text[i++] = text[from++];
        } else {
            text[i++] = (uint8_t)(r >> 24 & 63);
        }
    }
    uint64_t hash = 1;
    for (unsigned round = 0; round < 2 * scale; round++) {
        text[round * 4099 % kSize] ^= 1;
        size_t size = encode(text, packed);
        if (decode(packed, size, back) != kSize || memcmp(text, back, kSize)) abort();
        hash = mix(hash, size);
    }
    return hash;
}
