// SPDX-License-Identifier: Apache-2.0
/* CRC-32 by table, a byte at a time: a chain of dependent loads. */
#define NAME "crc"
#include "bench.h"

static uint64_t workload(unsigned scale) {
    static uint32_t table[256];
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
        table[i] = value;
    }
    size_t size = 1 << 20;
    uint8_t *data = allocate(size);
    for (size_t i = 0; i < size; i++) data[i] = (uint8_t)next_random();
    uint32_t crc = ~0u;
    for (unsigned round = 0; round < scale; round++)
        for (size_t i = 0; i < size; i++) crc = crc >> 8 ^ table[(crc ^ data[i]) & 0xff];
    return crc;
}
