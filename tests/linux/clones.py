#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records a guest that starts programs, computes, reads its disk and drops what it has read, and replays the log while
it is cloned again and again (clone_replay.cc): each copy must be the guest at its cut, and go on as the guest does.

    clones.py [--seeds N] [--seed S] [--lockstep PROGRAM] [--clone-replay PROGRAM] [--keep FOLDER]
"""

import argparse
import pathlib
import random
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit.pair import guest_image  # noqa: E402
from recording import BareRecording, WorkFolder  # noqa: E402

BUILD = TOP / "build" / "release"
LOAD = [
    "for i in $(seq 40); do /bin/true; ls -lR /etc | sort | md5sum; done | sort | uniq -c",
    "echo 3 >/proc/sys/vm/drop_caches; tar -C /usr/share -cf - doc 2>/dev/null | gzip -1 | wc -c",
    "/opt/bench/fib 60; /opt/bench/nbody 100; /opt/bench/compress 60",
    "perl -e 'for (1 .. 40) { my @a = map { $_ * 3 } 1 .. 100000; $s += $a[$_ * 7] } print $s, qq(\\n)'",
]


def record(lockstep, folder):
    with BareRecording(lockstep, folder, guest_image(), "512 MiB", 5000) as recording:
        for command in LOAD:
            output, status = recording.console.run(command, 300)
            if status != 0:
                raise RuntimeError(f"in the guest, {command!r} ended with {status}: {output}")
    return recording.log


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many replays")
    parser.add_argument("--seed", type=int, help="of the first one's moments (default: a new one)")
    parser.add_argument("--lockstep", type=pathlib.Path, default=BUILD / "apps/lockstep/lockstep")
    parser.add_argument("--clone-replay", type=pathlib.Path, default=BUILD / "tests/linux/clone_replay")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the recording, which stays where something goes wrong")
    wanted = parser.parse_args()
    first = wanted.seed if wanted.seed is not None else random.randrange(1 << 32)
    with WorkFolder(wanted.keep) as folder:
        log = record(wanted.lockstep, folder / "recording")
        for seed in range(first, first + wanted.seeds):
            print(f"seed {seed}", flush=True)
            subprocess.run([wanted.clone_replay, log, str(seed)], check=True)


if __name__ == "__main__":
    main()
