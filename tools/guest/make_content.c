// SPDX-License-Identifier: Apache-2.0
/* Writes SIZE bytes (a multiple of 8) of the content of SEED to standard output: make_content SEED SIZE */
#include <stdio.h>
#include <stdlib.h>

#include "content.h"

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    uint64_t seed = strtoull(argv[1], NULL, 0), words = strtoull(argv[2], NULL, 0) / 8;
    for (uint64_t i = 0; i < words; i++) {
        uint64_t word = content_word(seed, i);
        if (fwrite(&word, sizeof word, 1, stdout) != 1) return 1;
    }
    return fflush(stdout) != 0;
}
