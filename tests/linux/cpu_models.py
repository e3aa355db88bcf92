#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stock guest on each CPU model: what its C library and its kernel make of it, programs that choose their instructions
by it, and replays of it in several configurations of the engine, with equal state hashes and final states.

    cpu_models.py [--model MODEL] [--lockstep PROGRAM] [--keep FOLDER]
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit.pair import guest_image  # noqa: E402
from recording import Recording, WorkFolder, last_icount, replay  # noqa: E402

MODELS = {"x86-64-v2": ["x86-64-v2"], "x86-64-v3": ["x86-64-v2", "x86-64-v3"]}
AVX_FLAGS = {"avx", "avx2", "fma", "f16c"}
# Where there is FMA the C library computes with it, which rounds once less: what the guest prints is what this host prints with
# the same instructions.
SINES = "perl -e '$s += sin($_) * sqrt($_) for 1 .. 300000; printf qq(%.12f\\n), $s'"
WITHOUT_V3 = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX"}
# Each prints the same whatever the processor is, but for the times it took.
WORKLOAD = [
    "seq 400000 | gzip -6 | tee >(sha256sum >/run/sum) | sha512sum; sleep 1; cat /run/sum",
    "find /usr/lib -type f | sort | head -2000 | xargs cat 2>/dev/null | sha256sum",
    "for i in $(seq 30); do ls -R /usr/lib | sort | md5sum; done | sort | uniq -c",
    "/opt/bench/matmul 20; /opt/bench/nbody 20; /opt/bench/compress 20",
]
REPLAYS = [
    [],
    ["--block-limit", "3", "--code-cache", "16 MiB", "--disturb"],
    ["--window-after", "0"],
    ["--no-window", "--no-shared-lookups", "--no-superblocks", "--no-dead-flags", "--no-copied-blocks", "--no-inline-system",
     "--no-inline-strings", "--disturb"],
]  # fmt: skip


def run(console, command):
    output, status = console.run(command, 300)
    if status != 0:
        raise RuntimeError(f"in the guest, {command!r} ended with {status}: {output}")
    return output


def check_levels(console, model):
    """The levels that the dynamic loader searches libraries for, and the kernel's flags."""
    levels = re.findall(r"(x86-64-v\d) \(supported", run(console, "/lib64/ld-linux-x86-64.so.2 --help | cat"))
    if sorted(levels) != MODELS[model]:
        raise RuntimeError(f"on {model} the loader supports {levels}")
    flags = set(run(console, "grep -m1 ^flags /proc/cpuinfo").split())
    expected = AVX_FLAGS if model == "x86-64-v3" else set()
    if flags & AVX_FLAGS != expected or any(flag.startswith("avx512") for flag in flags):
        raise RuntimeError(f"on {model} the kernel has {sorted(flags & AVX_FLAGS)}")


def check_sines(console, model):
    environment = {**os.environ, **(WITHOUT_V3 if model == "x86-64-v2" else {})}
    expected = subprocess.run(["bash", "-c", SINES], env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    printed = run(console, SINES)
    if printed.strip() != expected.strip():
        raise RuntimeError(f"on {model} the guest's sines add up to {printed}, this host's to {expected}")


def check(model, arguments, folder):
    """Returns what the workload printed, without times."""
    printed = []
    recorder = type("", (Recording,), {"cpu": model})
    with recorder(arguments.lockstep, folder, guest_image(), "512 MiB", 200) as recording:
        check_levels(recording.console, model)
        check_sines(recording.console, model)
        printed = [run(recording.console, command) for command in WORKLOAD]
    last = last_icount(arguments.lockstep, recording.log)
    stops = [last * part // 11 for part in (3, 5, 7)]
    finals = {replay(arguments.lockstep, recording.log, options, stops) for options in REPLAYS}
    if len(finals) != 1:
        raise RuntimeError(f"the replays on {model} end in different states: {finals}")
    print(f"{model}: good", flush=True)
    return [re.sub(r"(?m)^(\w+) [\d.]+ ([0-9a-f]{16})$", r"\1 \2", text) for text in printed]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, help="one of the models alone")
    parser.add_argument("--lockstep", type=pathlib.Path, default=TOP / "build/release/apps/lockstep/lockstep")
    parser.add_argument("--keep", type=pathlib.Path)
    arguments = parser.parse_args()
    printed = {}
    for model in [arguments.model] if arguments.model else MODELS:
        with WorkFolder(arguments.keep and arguments.keep / model) as folder:
            printed[model] = check(model, arguments, folder)
    if len({str(texts) for texts in printed.values()}) != 1:
        raise RuntimeError(f"the models compute differently: {printed}")


if __name__ == "__main__":
    main()
