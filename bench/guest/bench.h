// SPDX-License-Identifier: Apache-2.0
/* The frame of a benchmark program: each file defines NAME and workload(); main() times it and prints one line,
 * "name milliseconds checksum". The checksum must be the same on every machine. Argument: the scale, in per
 * cent of the usual amount of work (100). */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Does the work, `scale` per cent of the usual amount, and returns a checksum of the results. */
static uint64_t workload(unsigned scale);

/* xorshift64*: the same numbers everywhere. */
static uint64_t random_state = 0x9e3779b97f4a7c15u;
static inline uint64_t next_random(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1du;
}

static inline uint64_t mix(uint64_t hash, uint64_t value) {
    return (hash ^ value) * 0x100000001b3u + (hash >> 29);
}

static inline void* allocate(size_t size) {
    void* memory = calloc(1, size);
    if (!memory) abort();
    return memory;
}

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

int main(int argc, char** argv) {
    unsigned scale = argc > 1 ? (unsigned)atoi(argv[1]) : 100;
    double start = now_ms();
    uint64_t checksum = workload(scale ? scale : 1);
    printf("%s %.1f %016llx\n", NAME, now_ms() - start, (unsigned long long)checksum);
    return 0;
}
