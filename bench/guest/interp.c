// SPDX-License-Identifier: Apache-2.0
/* A bytecode interpreter with one switch: indirect jumps that are hard to predict. */
#define NAME "interp"
#include "bench.h"

enum { ADD, SUB, XOR, SHIFT, LOAD, STORE, SET, LOOP, END };
struct instruction {
    uint8_t code, a, b, c;
    int32_t value;
};

static uint64_t interpret(const struct instruction *program, uint64_t *memory) {
    uint64_t r[8] = {0};
    for (const struct instruction *i = program;; i++) {
        switch (i->code) {
            case ADD: r[i->a] = r[i->b] + r[i->c]; break;
            case SUB: r[i->a] = r[i->b] - r[i->c]; break;
            case XOR: r[i->a] = r[i->b] ^ r[i->c]; break;
            case SHIFT: r[i->a] = r[i->b] >> (i->value & 63); break;
            case LOAD: r[i->a] = memory[r[i->b] & 1023]; break;
            case STORE: memory[r[i->b] & 1023] = r[i->a]; break;
            case SET: r[i->a] = (uint64_t)i->value; break;
            case LOOP:
                if (--r[i->a]) i += i->value;
                break;
            case END: return mix(r[1], r[2]);
        }
    }
}

static uint64_t workload(unsigned scale) {
    struct instruction program[] = {
        {SET, 7, 0, 0, (int32_t)(100000 * scale)},
        {SET, 1, 0, 0, 12345},
        {SET, 3, 0, 0, 40503},
        {ADD, 2, 1, 3, 0},
        {LOAD, 4, 2, 0, 0},
        {XOR, 1, 1, 4, 0},
        {SHIFT, 5, 1, 0, 7},
        {SUB, 1, 2, 5, 0},
        {STORE, 1, 5, 0, 0},
        {ADD, 3, 3, 7, 0},
        {LOOP, 7, 0, 0, -8},
        {END, 0, 0, 0, 0},
    };
    uint64_t *memory = allocate(1024 * sizeof *memory);
    for (int i = 0; i < 1024; i++) memory[i] = next_random();
    return interpret(program, memory);
}
