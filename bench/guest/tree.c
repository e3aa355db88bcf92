// SPDX-License-Identifier: Apache-2.0
/* A treap: recursion, unpredictable branches and scattered small objects. */
#define NAME "tree"
#include "bench.h"

struct node {
    struct node *left, *right;
    uint64_t key, weight;
};

static struct node *insert(struct node *tree, struct node *item) {
    if (!tree) return item;
    if (item->key < tree->key) {
        tree->left = insert(tree->left, item);
        if (tree->left->weight > tree->weight) {
            struct node *up = tree->left;
            tree->left = up->right;
            up->right = tree;
            return up;
        }
    } else {
        tree->right = insert(tree->right, item);
        if (tree->right->weight > tree->weight) {
            struct node *up = tree->right;
            tree->right = up->left;
            up->left = tree;
            return up;
        }
    }
    return tree;
}

static uint64_t sum(const struct node *tree, unsigned depth) {
    if (!tree) return 0;
    return sum(tree->left, depth + 1) + mix(tree->key, depth) + sum(tree->right, depth + 1);
}

static uint64_t workload(unsigned scale) {
    size_t count = 2000u * scale;
    struct node *nodes = allocate(count * sizeof *nodes), *tree = NULL;
    for (size_t i = 0; i < count; i++) {
        nodes[i].key = next_random();
        nodes[i].weight = next_random();
        tree = insert(tree, &nodes[i]);
    }
    return sum(tree, 0);
}
