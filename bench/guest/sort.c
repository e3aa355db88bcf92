// SPDX-License-Identifier: Apache-2.0
/* Quicksort of random numbers: branches that depend on data. */
#define NAME "sort"
#include "bench.h"

static void sort(uint64_t *first, uint64_t *last) {
    while (last - first > 16) {
        uint64_t pivot = first[(last - first) / 2], *low = first, *high = last - 1;
        while (low <= high) {
            while (*low < pivot) low++;
            while (*high > pivot) high--;
            if (low <= high) {
                uint64_t swap = *low;
                *low++ = *high;
                *high-- = swap;
            }
        }
        if (high + 1 - first < last - low) {
            sort(first, high + 1);
            first = low;
        } else {
            sort(low, last);
            last = high + 1;
        }
    }
    for (uint64_t *i = first + 1; i < last; i++) {
        uint64_t value = *i, *hole = i;
        for (; hole > first && hole[-1] > value; hole--) *hole = hole[-1];
        *hole = value;
    }
}

static uint64_t workload(unsigned scale) {
    size_t count = 25000u * scale;
    uint64_t *numbers = allocate(count * sizeof *numbers), hash = 1;
    for (size_t i = 0; i < count; i++) numbers[i] = next_random();
    sort(numbers, numbers + count);
    for (size_t i = 0; i < count; i += 97) hash = mix(hash, numbers[i]);
    return hash;
}
