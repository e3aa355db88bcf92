#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes what the workloads work on, the same on every machine: make_data.py FOLDER

text            words of an invented language, about as compressible as prose
large.c         one large file of C
project/        a small C project with a Makefile; `make UNITS=N` builds it with its first N units
"""

import itertools
import pathlib
import random
import sys

TEXT_BYTES = 24 << 20
LARGE_FUNCTIONS = 200
PROJECT_UNITS = 40
UNIT_FUNCTIONS = 6


def make_text():
    generator = random.Random(1)
    syllables = [a + b for a in "bdfgklmnprstv" for b in ("a", "e", "i", "o", "u", "an", "er", "ist")]
    words = ["".join(generator.choices(syllables, k=generator.randint(1, 4))) for _ in range(20000)]
    weights = list(itertools.accumulate(1 / (rank + 2) for rank in range(len(words))))
    lines = []
    size = 0
    while size < TEXT_BYTES:
        line = " ".join(generator.choices(words, cum_weights=weights, k=12)) + ".\n"
        lines.append(line)
        size += len(line)
    return "".join(lines)[:TEXT_BYTES]


class Source:
    """Writes functions of C that compute with arrays, structs, switches and loops, and call earlier ones."""

    def __init__(self, seed, prefix, linkage=""):
        self.generator = random.Random(seed)
        self.prefix = prefix
        self.linkage = linkage
        self.made = 0

    def expression(self, depth=2):
        pick = self.generator.randrange
        if depth == 0:
            return self.generator.choice(["a", "b", "i", "r->left", "r->right", "table[i & 15]", str(pick(1, 1000))])
        left, right = self.expression(depth - 1), self.expression(depth - 1)
        operator = self.generator.choice(["+", "-", "*", "^", "&", "|"])
        shift = self.generator.choice([0, 0, pick(1, 12)])
        return f"(({left} {operator} {right}) >> {shift})" if shift else f"({left} {operator} {right})"

    def statement(self):
        pick = self.generator.randrange(6)
        target = self.generator.choice(["a", "b", "r->left", "r->right", "table[(a + i) & 15]"])
        if pick == 0:
            return [f"if ({self.expression(1)} > {self.expression(1)}) {target} = {self.expression()};",
                    f"else {target} ^= {self.expression(1)};"]  # fmt: skip
        if pick == 1:
            cases = [f"    case {n}: {target} += {self.expression(1)}; break;" for n in range(4)]
            return [f"switch ({self.expression(1)} & 7) {{", *cases, f"    default: b -= {self.expression(1)};", "}"]
        if pick == 2:
            return [f"for (unsigned k = 0; k < {self.generator.randrange(3, 9)}; k++) {target} += table[(k + i) & 15] * k;"]
        if pick == 3 and self.made:
            return [f"{target} += {self.prefix}{self.generator.randrange(self.made)}(r, a & 3);"]
        return [f"{target} = {self.expression()};"]

    def function(self):
        lines = [f"{self.linkage}unsigned {self.prefix}{self.made}(struct record *r, unsigned n) {{",
                 f"    unsigned a = {self.generator.randrange(1, 1000)}, b = n;",
                 "    for (unsigned i = 0; i <= n; i++) {"]  # fmt: skip
        for _ in range(8):
            lines += ["        " + line for line in self.statement()]
        lines += ["    }", "    return a ^ b;", "}"]
        self.made += 1
        return "\n".join(lines)


RECORD = "struct record { unsigned left, right; };\n"
TABLE = "static unsigned table[16] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};\n"


def make_large():
    source = Source(2, "step")
    parts = [RECORD + TABLE]
    for number in range(LARGE_FUNCTIONS):
        parts.append(f"/* function {number} */\n" + source.function())
    return "\n".join(parts) + "\n"


MAKEFILE = """\
# Builds `program` from the first UNITS units.
UNITS = {units}
OBJECTS = $(patsubst %,unit%.o,$(shell seq 0 $$(($(UNITS) - 1))))
CFLAGS = -O1 -DUNITS=$(UNITS)

program: main.o libunits.a
\t$(CC) -o $@ $^
libunits.a: $(OBJECTS)
\t$(AR) rc $@ $^
%.o: %.c units.h
\t$(CC) $(CFLAGS) -c -o $@ $<
"""


def make_project(folder):
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE.format(units=PROJECT_UNITS))
    declarations = "".join(f"unsigned unit{n}(struct record *r, unsigned n);\n" for n in range(PROJECT_UNITS))
    includes = "#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
    (folder / "units.h").write_text("#pragma once\n" + includes + RECORD + declarations)
    for unit in range(PROJECT_UNITS):
        source = Source(100 + unit, f"part{unit}_", "static ")
        functions = "\n".join(source.function() for _ in range(UNIT_FUNCTIONS))
        calls = " + ".join(f"part{unit}_{n}(r, n)" for n in range(UNIT_FUNCTIONS))
        entry = f"unsigned unit{unit}(struct record *r, unsigned n) {{ return {calls}; }}\n"
        (folder / f"unit{unit}.c").write_text(f'#include "units.h"\n{TABLE}{functions}\n{entry}')
    calls = "".join(f"#if UNITS > {n}\n    sum = sum * 31 + unit{n}(&r, 3);\n#endif\n" for n in range(PROJECT_UNITS))
    main = f'#include "units.h"\nint main(void) {{\n    struct record r = {{1, 2}};\n    unsigned sum = 0;\n{calls}'
    (folder / "main.c").write_text(main + '    printf("%08x\\n", sum);\n    return 0;\n}\n')


def main():
    folder = pathlib.Path(sys.argv[1])
    text = make_text()
    (folder / "text").write_text(text)
    (folder / "large.c").write_text(make_large())
    make_project(folder / "project")
    (folder / "www").mkdir()
    (folder / "www/4k").write_text(text[:4096])


if __name__ == "__main__":
    main()
