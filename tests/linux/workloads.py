#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records every workload of the benchmark, in a few recordings from power-on to power-off, and replays each log as
recorded, with a small code cache, with all optimisations off, and on an unoptimised build: all state hashes must be
equal, and the final states the same.

    workloads.py [--only NAME,...] [--seed S] [--lockstep PROGRAM] [--unoptimised PROGRAM] [--keep FOLDER] [--lab NAME]
    workloads.py --list

The seed draws the order of the workloads, the interval of the state hashes and the places where replays stop. Without
--unoptimised that build is made of this tree, by the preset `debug`. A boot is in every recording, one with all services
in the last; `--only boot` records that alone.
"""

import argparse
import dataclasses
import pathlib
import random
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tools"), str(TOP / "bench")]
from comparison.ways import Root, benchmark_image  # noqa: E402
from comparison.workloads import WORKLOADS, Outside  # noqa: E402
from labkit.lab import GUEST_ADDRESS, Lab  # noqa: E402
from recording import BareRecording, Recording, WorkFolder, last_icount, replay  # noqa: E402

MEMORY = "1 GiB"
WORKLOAD_TIMEOUT = 300

# The amounts of work of each recording, in the units of the benchmark.
PROGRAMS = {
    "chase": 4, "compress": 4, "crc": 4, "fib": 4, "hashtable": 4, "interp": 4, "matmul": 4, "nbody": 4,
    "sha256": 4, "sieve": 4, "sort": 4, "stream": 4, "strhash": 4, "tree": 4, "virtual": 4,
    "zstd": 512, "sqlite": 2000, "openssl-sha256": 20, "openssl-rsa": 20, "python": 1, "gcc": 3,
}  # fmt: skip
SYSTEM = {
    "call-path": 20000, "pipe-path": 4000, "switch-path": 1000, "fault-path": 5000, "fork-path": 20, "exec-path": 20,
    "signal-path": 4000, "sleep-path": 200, "clock-path": 100000, "fork": 4, "make": 1,
    "pgbench": 40, "jvm": 1,
}  # fmt: skip
SERVICES = {"fio": 16, "redis": 1000, "nginx": 1, "iperf-receive": 1, "iperf-send": 1}

CHAINS_ALONE = ["--no-shared-lookups", "--no-superblocks", "--no-dead-flags", "--no-copied-blocks", "--no-inline-system",
                "--no-inline-strings", "--no-window", "--no-jump-index", "--block-limit", "3"]  # fmt: skip
NOTHING = CHAINS_ALONE + ["--no-chaining", "--no-jump-cache"]
SMALL_CACHE = ["--code-cache", "8 MiB", "--window-after", "1000000"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A recording to be made: how the guest boots, what it does, and how the log is replayed."""

    recorder: type
    amounts: dict
    replays: list


# Without chains and the jump cache each block of three instructions comes from the dispatcher, at a small part of the
# speed: too long for a guest with all its services, whose boot is more than half of its instructions.
RECORDINGS = {
    "programs": Plan(BareRecording, PROGRAMS, [[], SMALL_CACHE, NOTHING]),
    "system": Plan(BareRecording, SYSTEM, [[], SMALL_CACHE, NOTHING]),
    "services": Plan(Recording, SERVICES, [[], SMALL_CACHE, CHAINS_ALONE]),
}


class RecordedGuest:
    """The recorded guest as a way to run workloads (see comparison/ways.py)."""

    name = "recorded"
    address = GUEST_ADDRESS

    def __init__(self, console):
        self.console = console

    def cpu_seconds(self):
        return 0

    def meter(self):
        return None


def run_workloads(guest, root, amounts, order):
    for name in order:
        start = time.monotonic()
        workload = dataclasses.replace(WORKLOADS[name], amount=amounts[name])
        workload.run(guest, root, 100, WORKLOAD_TIMEOUT)
        print(f"    {name} {amounts[name]}: {time.monotonic() - start:.1f} s", flush=True)


def record(arguments, folder, image, plan, draw):
    """Makes one recording; returns its log."""
    amounts = plan.amounts
    order = draw.sample(sorted(amounts), len(amounts))
    hash_ms = draw.choice([50, 200, 1000])
    print(f"    a state hash every {hash_ms} ms", flush=True)

    def recorded(lab=None, root=None):
        with plan.recorder(arguments.lockstep, folder, image, MEMORY, hash_ms, lab) as recording:
            # Nothing may come between the lines of a workload.
            recording.console.run("bind 'set enable-bracketed-paste off'; dmesg -n 1", 60)
            run_workloads(RecordedGuest(recording.console), root, amounts, order)
        return recording.log

    if not any(isinstance(WORKLOADS[name], Outside) for name in amounts):
        return recorded()
    with Lab(arguments.lab) as lab:
        root = Root(lab, image)  # where the clients outside are
        try:
            return recorded(lab, root)
        finally:
            root.close()


def check(name, arguments, folder, image):
    """One recording and its replays; raises where they differ."""
    draw = random.Random(f"{arguments.seed} {name}")
    plan = arguments.recordings[name]
    print(f"recording {name}: {', '.join(plan.amounts) or 'boot'}", flush=True)
    start = time.monotonic()
    log = record(arguments, folder, image, plan, draw)
    last = last_icount(arguments.lockstep, log)
    print(f"    {last} instructions, {log.stat().st_size >> 20} MiB of log, {time.monotonic() - start:.0f} s", flush=True)
    replays = [(arguments.lockstep, options) for options in plan.replays] + [(arguments.unoptimised, ["--any-build"])]
    finals = {replay(program, log, options, sorted(draw.randrange(last) for _ in range(3))) for program, options in replays}
    if len(finals) != 1:
        raise RuntimeError(f"the replays end in different states: {finals}")


def unoptimised_build():
    """Makes the program that is built without optimisation, of the same sources, and returns it."""
    for command in (["cmake", "--preset", "debug"], ["cmake", "--build", "--preset", "debug", "--target", "lockstep"]):
        subprocess.run(command, cwd=TOP, check=True, stdout=subprocess.DEVNULL)
    return TOP / "build/debug/apps/lockstep/lockstep"


def chosen(only):
    """The recordings with the workloads of these names alone; those that have none are left out."""
    if only is None:
        return RECORDINGS
    picked = {
        name: dataclasses.replace(plan, amounts={key: plan.amounts[key] for key in plan.amounts if key in only})
        for name, plan in RECORDINGS.items()
    }
    # "boot" is that of all services, as in the benchmark.
    return {name: plan for name, plan in picked.items() if plan.amounts or plan.recorder is Recording and "boot" in only}


def parse_arguments():
    known = [workload for plan in RECORDINGS.values() for workload in plan.amounts] + ["boot"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), help="names of workloads")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--lockstep", type=pathlib.Path, default=TOP / "build/release/apps/lockstep/lockstep")
    parser.add_argument("--unoptimised", type=pathlib.Path, help="the unoptimised build of lockstep")
    parser.add_argument("--keep", type=pathlib.Path, help="work in this folder")
    parser.add_argument("--lab", default="replay", help="name of the network laboratory")
    parser.add_argument("--list", action="store_true", help="list the recordings and their workloads")
    arguments = parser.parse_args()
    for wrong in set(arguments.only or []) - set(known):
        parser.error(f"there is no workload '{wrong}'; there are: {', '.join(known)}")
    arguments.recordings = chosen(arguments.only)
    return arguments


def main():
    arguments = parse_arguments()
    if arguments.list:
        for name, plan in RECORDINGS.items():
            print(f"{name}: {', '.join(f'{workload} {amount}' for workload, amount in plan.amounts.items())}")
        return
    only = f" --only {','.join(arguments.only)}" if arguments.only else ""
    print(f"to repeat: {sys.argv[0]} --seed {arguments.seed}{only}", flush=True)
    image = benchmark_image()
    arguments.unoptimised = arguments.unoptimised or unoptimised_build()
    for name in arguments.recordings:
        with WorkFolder(arguments.keep and arguments.keep / name) as folder:
            check(name, arguments, folder, image)
    print(f"{len(arguments.recordings)} recordings, all replays equal")


if __name__ == "__main__":
    main()
