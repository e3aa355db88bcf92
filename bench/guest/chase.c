// SPDX-License-Identifier: Apache-2.0
/* Follows pointers through 16 KiB (first half) and 32 MiB (second half) in random order. */
#define NAME "chase"
#include "bench.h"

struct link {
    struct link *next;
    uint64_t value;
};

static uint64_t follow(size_t count, uint64_t steps) {
    struct link *links = allocate(count * sizeof *links);
    size_t *order = allocate(count * sizeof *order);
    for (size_t i = 0; i < count; i++) order[i] = i;
    for (size_t i = count - 1; i > 0; i--) {
        size_t j = next_random() % (i + 1), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    for (size_t i = 0; i < count; i++) {
        links[order[i]].next = &links[order[(i + 1) % count]];
        links[order[i]].value = i;
    }
    uint64_t sum = 0;
    struct link *at = links;
    for (uint64_t i = 0; i < steps; i++) {
        sum += at->value;
        at = at->next;
    }
    free(order);
    free(links);
    return sum;
}

static uint64_t workload(unsigned scale) {
    return mix(follow(1 << 10, 500000u * scale), follow(1 << 21, 10000u * scale));
}
