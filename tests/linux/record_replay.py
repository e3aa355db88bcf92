#!/usr/bin/env python3
"""Records a stock guest from power-on through a workload to its power-off, and replays the log in several
configurations of the engine: all state hashes must be equal, and the final states the same.

    record_replay.py [--recordings N] [--seed S] [--lockstep PROGRAM] [--keep FOLDER]

The first recording does all of the workload and is replayed in every configuration; each further one does a part of it
that the seed draws, with another interval of the state hashes, and is replayed as recorded and in one configuration.
"""

import argparse
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit.console import LOGIN_PROMPT, GuestConsole  # noqa: E402
from labkit.pair import guest_image  # noqa: E402

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
    ["--no-shared-lookups", "--no-superblocks", "--no-dead-flags", "--no-copied-blocks", "--no-inline-system", "--disturb"],
]
MORE_REPLAYS = [
    ["--block-limit", "1"],
    ["--block-limit", "3", "--code-cache", "16 MiB"],
    ["--code-cache", "8 MiB"],
    ["--no-chaining", "--disturb"],
    ["--no-jump-cache", "--disturb"],
    ["--no-jump-index", "--disturb"],
    ["--no-dead-flags", "--no-copied-blocks"],
    ["--no-inline-system", "--block-limit", "7"],
    ["--no-shared-lookups", "--disturb"],
    ["--no-superblocks"],
]


def record(lockstep, folder, environment, workload, hash_ms):
    image = guest_image()
    subprocess.run(["cp", "--sparse=always", image / "disk.raw", folder / "disk.raw"], check=True)
    config = folder / "vm.toml"
    config.write_text(
        f"""[vm]
name = "recorded"
kernel = "{image}/vmlinuz"
initrd = "{image}/initrd"
command_line = "root=/dev/vda rw console=ttyS0 net.ifnames=0"
memory = "512 MiB"
[[disk]]
path = "{folder}/disk.raw"
"""
    )
    with open(folder / "record.log", "w") as messages:
        vm = subprocess.Popen([lockstep, "record", "--hash-ms", str(hash_ms), config, folder / "guest.log"], env=environment,
                              stdin=subprocess.DEVNULL, stdout=messages, stderr=messages)  # fmt: skip
        while subprocess.run([lockstep, "status", "recorded"], env=environment, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL).returncode:  # fmt: skip
            if vm.poll() is not None:
                raise RuntimeError((folder / "record.log").read_text())
            time.sleep(0.1)
        attached = subprocess.Popen([lockstep, "console", "recorded"], env=environment, bufsize=0,
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        console = GuestConsole(attached.stdout.fileno(), attached.stdin.fileno())
        console.wait_for(LOGIN_PROMPT.pattern, 300)
        console.login(120)
        for command in workload:
            output, status = console.run(command, 300)
            if status != 0:
                raise RuntimeError(f"in the guest, {command!r} ended with {status}: {output}")
        console.send("systemctl poweroff\r")
        if vm.wait(timeout=180) != 0:
            raise RuntimeError(f"lockstep record ended with {vm.returncode}: {(folder / 'record.log').read_text()}")
        attached.wait(timeout=30)


def replay(lockstep, folder, environment, arguments):
    summary = subprocess.run([lockstep, "log", "summary", folder / "guest.log"], env=environment, check=True,
                             stdout=subprocess.PIPE, text=True).stdout  # fmt: skip
    last = int(re.search(r"icount \d+ to (\d+)", summary).group(1))
    stops = [item for part in (3, 5, 7) for item in ("--stop-at", str(last * part // 11))]
    done = subprocess.run([lockstep, "replay", *arguments, *stops, folder / "guest.log"], env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    lines = done.stdout.splitlines()
    print(f"replay {' '.join(arguments) or 'as recorded'}:", *lines[-2 if done.returncode == 0 else 0:], sep="\n    ", flush=True)
    if done.returncode != 0:
        raise RuntimeError(f"the replay with {arguments} ended with {done.returncode}")
    return re.search(r"final state: .*", done.stdout).group(0)


def check(number, arguments, folder):
    """One recording and its replays; returns whether all of them ended in the same state."""
    draw = random.Random(f"{arguments.seed} {number}")
    workload, hash_ms, replays = WORKLOAD, 1000, REPLAYS
    if number > 0:
        workload = draw.sample(WORKLOAD, draw.randrange(len(WORKLOAD)))  # none: boot, login and power-off alone
        hash_ms = draw.choice([20, 100, 500, 1000])
        replays = [[], draw.choice(MORE_REPLAYS)]
    folder.mkdir(parents=True)
    (folder / "run").mkdir()
    environment = {**os.environ, "LOCKSTEP_RUNTIME": str(folder / "run")}
    print(f"recording {number}: {len(workload)} commands, a state hash every {hash_ms} ms", flush=True)
    record(arguments.lockstep, folder, environment, workload, hash_ms)
    finals = {replay(arguments.lockstep, folder, environment, options) for options in replays}
    if len(finals) != 1:
        print(f"the replays end in different states: {finals}")
    return len(finals) == 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--lockstep", default=TOP / "build/release/apps/lockstep/lockstep")
    parser.add_argument("--keep", type=pathlib.Path, help="work in this folder and leave what failed there")
    arguments = parser.parse_args()
    repeat = f"{sys.argv[0]} --recordings {arguments.recordings} --seed {arguments.seed}"
    with tempfile.TemporaryDirectory(prefix="lockstep-replay-") as temporary:
        for number in range(arguments.recordings):
            folder = (arguments.keep or pathlib.Path(temporary)) / f"recording-{number}"
            try:
                equal = check(number, arguments, folder)
            finally:
                print(f"to repeat: {repeat}", flush=True)
            if not equal:
                return 1
            shutil.rmtree(folder)
    print(f"{arguments.recordings} recordings, all replays equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
