// SPDX-License-Identifier: Apache-2.0
/* A chained hash table: insertions, look-ups and removals. */
#define NAME "hashtable"
#include "bench.h"

struct node {
    struct node *next;
    uint64_t key, value;
};
enum { kBuckets = 1 << 16 };

static uint64_t workload(unsigned scale) {
    struct node **table = allocate(kBuckets * sizeof *table), *unused = NULL;
    uint64_t hash = 1;
    for (unsigned i = 0; i < 90000 * scale; i++) {
        uint64_t key = next_random() & 0x1ffff;
        struct node **link = &table[key * 0x9e3779b97f4a7c15u >> 48];
        while (*link && (*link)->key != key) link = &(*link)->next;
        struct node *found = *link;
        if (found && (i & 3) == 0) {
            hash = mix(hash, found->value);
            *link = found->next;
            found->next = unused;
            unused = found;
        } else if (found) {
            found->value += i;
        } else {
            struct node *node = unused ? unused : allocate(sizeof *node);
            if (unused) unused = unused->next;
            *node = (struct node){*link, key, i};
            *link = node;
        }
    }
    return hash;
}
