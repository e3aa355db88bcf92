// SPDX-License-Identifier: Apache-2.0
/* Calls through tables of functions, the callee changing at every call. */
#define NAME "virtual"
#include "bench.h"

struct shape {
    uint64_t (*step)(struct shape *self, uint64_t x);
    uint64_t state;
};

static uint64_t add(struct shape *s, uint64_t x) { return s->state += x; }
static uint64_t rotate(struct shape *s, uint64_t x) { return s->state = (s->state << 7 | s->state >> 57) ^ x; }
static uint64_t subtract(struct shape *s, uint64_t x) { return s->state = x - s->state; }
static uint64_t multiply(struct shape *s, uint64_t x) { return s->state = s->state * 5 + x; }

static uint64_t workload(unsigned scale) {
    uint64_t (*const kinds[])(struct shape *, uint64_t) = {add, rotate, subtract, multiply};
    struct shape *shapes = allocate(4096 * sizeof *shapes);
    for (int i = 0; i < 4096; i++) shapes[i] = (struct shape){kinds[next_random() >> 62], (uint64_t)i};
    uint64_t x = 1;
    for (unsigned round = 0; round < 80 * scale; round++)
        for (int i = 0; i < 4096; i++) x = shapes[i].step(&shapes[i], x);
    return x;
}
