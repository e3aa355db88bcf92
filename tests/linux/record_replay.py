#!/usr/bin/env python3
"""Records a stock guest from power-on through a workload to its power-off, and replays the log in several
configurations of the engine: all state hashes must be equal, and the final states the same.

    record_replay.py [--lockstep PROGRAM] [--keep FOLDER]
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit.console import LOGIN_PROMPT, GuestConsole  # noqa: E402
from labkit.pair import guest_image  # noqa: E402

WORKLOAD = [
    "for i in $(seq 40); do /bin/true; ls -lR /etc | sort | md5sum; done | sort | uniq -c",
    "dd if=/dev/urandom of=/root/noise bs=64k count=40 2>/dev/null; sync; md5sum /root/noise | cut -c1-4 | wc -c",
    "tar -C /usr/share -cf - doc 2>/dev/null | gzip -1 | wc -c | grep -c .",
    "/opt/bench/fib 20; /opt/bench/nbody 20; /opt/bench/compress 20",
]
REPLAYS = [
    [],
    ["--block-limit", "3", "--code-cache", "3 MiB"],
    ["--no-chaining", "--no-jump-cache", "--no-dead-flags", "--no-copied-blocks", "--no-inline-system"],
]


def record(lockstep, folder, environment):
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
        vm = subprocess.Popen([lockstep, "record", config, folder / "guest.log"], env=environment,
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
        for command in WORKLOAD:
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
    print(f"replay {' '.join(arguments) or 'as recorded'}:\n{done.stdout}", flush=True)
    if done.returncode != 0:
        raise RuntimeError(f"the replay with {arguments} ended with {done.returncode}")
    return re.search(r"final state: .*", done.stdout).group(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lockstep", default=TOP / "build/release/apps/lockstep/lockstep")
    parser.add_argument("--keep", type=pathlib.Path, help="work in this folder and leave it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lockstep-replay-") as temporary:
        folder = arguments.keep or pathlib.Path(temporary)
        (folder / "run").mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "LOCKSTEP_RUNTIME": str(folder / "run")}
        record(arguments.lockstep, folder, environment)
        finals = {replay(arguments.lockstep, folder, environment, options) for options in REPLAYS}
    if len(finals) != 1:
        print(f"the replays end in different states: {finals}; to repeat: {sys.argv[0]}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
