#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records a stock guest from power-on through a workload to its power-off, and replays the log in several
configurations of the engine: all state hashes must be equal, and the final states the same.

    record_replay.py [--recordings N] [--seed S] [--lockstep PROGRAM] [--keep FOLDER]

The first recording does all of the workload and is replayed in every configuration; each further one does a part of it
that the seed draws, with another interval of the state hashes, and is replayed as recorded and in one configuration.
"""

import argparse
import pathlib
import random
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit.pair import guest_image  # noqa: E402
from recording import Recording, WorkFolder, last_icount, replay  # noqa: E402

WORKLOAD = [
    "python3 -c 'import this' >/dev/null 2>&1; perl -e '$s += $_ * $_ for 1 .. 300000; print $s, qq(\\n)'",
    "for i in $(seq 40); do /bin/true; ls -lR /etc | sort | md5sum; done | sort | uniq -c",
    "dd if=/dev/urandom of=/root/noise bs=64k count=40 2>/dev/null; sync; md5sum /root/noise | cut -c1-4 | wc -c",
    "tar -C /usr/share -cf - doc 2>/dev/null | gzip -1 | wc -c | grep -c .",
    "/opt/bench/fib 20; /opt/bench/nbody 20; /opt/bench/compress 20",
]
REPLAYS = [
    [],
    ["--block-limit", "3", "--code-cache", "16 MiB"],
    ["--window-after", "0"],
    ["--no-window", "--no-shared-lookups", "--no-superblocks", "--no-dead-flags", "--no-copied-blocks", "--no-inline-system",
     "--no-inline-strings", "--disturb"],
]
MORE_REPLAYS = [
    ["--block-limit", "1"],
    ["--block-limit", "3", "--code-cache", "16 MiB"],
    ["--code-cache", "8 MiB"],
    ["--no-chaining", "--disturb"],
    ["--no-jump-cache", "--disturb"],
    ["--no-jump-index", "--disturb"],
    ["--no-dead-flags", "--no-copied-blocks"],
    ["--no-copied-chains", "--no-inline-strings"],
    ["--no-inline-system", "--block-limit", "7"],
    ["--no-shared-lookups", "--disturb"],
    ["--no-superblocks"],
    ["--no-window"],
    ["--window-after", "100000", "--disturb"],
]


def record(lockstep, folder, workload, hash_ms):
    with Recording(lockstep, folder, guest_image(), "512 MiB", hash_ms) as recording:
        for command in workload:
            output, status = recording.console.run(command, 300)
            if status != 0:
                raise RuntimeError(f"in the guest, {command!r} ended with {status}: {output}")
    return recording.log


def check(number, arguments, folder):
    """One recording and its replays; raises where they differ."""
    draw = random.Random(f"{arguments.seed} {number}")
    workload, hash_ms, replays = WORKLOAD, 1000, REPLAYS
    if number > 0:
        workload = draw.sample(WORKLOAD, draw.randrange(len(WORKLOAD)))  # none: boot, login and power-off alone
        hash_ms = draw.choice([20, 100, 500, 1000])
        replays = [[], draw.choice(MORE_REPLAYS)]
    print(f"recording {number}: {len(workload)} commands, a state hash every {hash_ms} ms", flush=True)
    log = record(arguments.lockstep, folder, workload, hash_ms)
    last = last_icount(arguments.lockstep, log)
    stops = [last * part // 11 for part in (3, 5, 7)]
    finals = {replay(arguments.lockstep, log, options, stops) for options in replays}
    if len(finals) != 1:
        raise RuntimeError(f"the replays end in different states: {finals}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--lockstep", default=TOP / "build/release/apps/lockstep/lockstep")
    parser.add_argument("--keep", type=pathlib.Path, help="work in this folder")
    arguments = parser.parse_args()
    print(f"to repeat: {sys.argv[0]} --recordings {arguments.recordings} --seed {arguments.seed}", flush=True)
    for number in range(arguments.recordings):
        with WorkFolder(arguments.keep and arguments.keep / f"recording-{number}") as folder:
            check(number, arguments, folder)
    print(f"{arguments.recordings} recordings, all replays equal")


if __name__ == "__main__":
    main()
