// SPDX-License-Identifier: Apache-2.0
/* Planets attract each other: scalar double arithmetic, division and square roots. */
#define NAME "nbody"
#include <math.h>

#include "bench.h"

enum { kBodies = 8 };
static double position[kBodies][3], velocity[kBodies][3], mass[kBodies];

static void advance(double dt) {
    for (int i = 0; i < kBodies; i++)
        for (int j = i + 1; j < kBodies; j++) {
            double d[3], square = 0.01;
            for (int k = 0; k < 3; k++) {
                d[k] = position[i][k] - position[j][k];
                square += d[k] * d[k];
            }
            double pull = dt / (square * sqrt(square));
            for (int k = 0; k < 3; k++) {
                velocity[i][k] -= d[k] * mass[j] * pull;
                velocity[j][k] += d[k] * mass[i] * pull;
            }
        }
    for (int i = 0; i < kBodies; i++)
        for (int k = 0; k < 3; k++) position[i][k] += dt * velocity[i][k];
}

static uint64_t workload(unsigned scale) {
    for (int i = 0; i < kBodies; i++) {
        mass[i] = 1.0 + (double)i / 4;
        for (int k = 0; k < 3; k++) position[i][k] = (double)(next_random() >> 32) / (1u << 28) - 8;
    }
    for (unsigned step = 0; step < 8000 * scale; step++) advance(0.001);
    uint64_t hash = 1, bits;
    for (int i = 0; i < kBodies; i++)
        for (int k = 0; k < 3; k++) {
            memcpy(&bits, &position[i][k], sizeof bits);
            hash = mix(hash, bits);
        }
    return hash;
}
