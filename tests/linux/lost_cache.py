#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A host dies, and its memory with it, while a guest writes past its own cache and never flushes. The guest goes on
on the other host and must find every byte that it was told is written.

    lost_cache.py [--seed N] [--lab NAME]

Each host reaches the shared image through a cache of its own (apps/host_cache), which is killed with the host. The
logs of the processes are kept in build/lost_cache.
"""

import argparse
import os
import pathlib
import random
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit import fresh_logs  # noqa: E402
from labkit.console import SHELL_PROMPT, ConsoleError  # noqa: E402
from labkit.lab import Lab  # noqa: E402
from labkit.pair import PATIENT, Pair  # noqa: E402

BOOT_TIMEOUT = 300
PROTECT_TIMEOUT = 120
LIVE_TIMEOUT = 60
SKIPPED = 77  # of ctest
SIZE_MIB = 32
SECTOR = 512
WRITTEN_AFTER = 64 << 10  # by the guest on the other host
# The blocks are there before, so that the writes change nothing but them; the source lies in the guest's memory. The
# writes are of a sector each, so that all of them take many seconds on the fastest host.
PREPARE = (
    f"dd if=/dev/urandom of=/dev/shm/source bs=1M count={SIZE_MIB} status=none && "
    f"dd if=/dev/zero of=/root/written bs=1M count={SIZE_MIB} status=none && sync"
)
WRITE = f"dd if=/dev/shm/source of=/root/written bs={SECTOR} oflag=direct conv=notrunc status=noxfer 2>/dev/shm/told & true"
PROGRESS = "grep ^pos /proc/$!/fdinfo/1"
# On the other host it writes on for a while, and is then asked how many sectors it was told are written.
STOP = "kill -INT $!; wait $!; sed -n 's/+0 records out//p' /dev/shm/told"
COMPARE = "dd if=/root/written bs=1M iflag=direct status=none | cmp -n {bytes} - /dev/shm/source"


class LostCacheError(Exception):
    """Something is not as it must be."""


def require(condition, sentence):
    if not condition:
        raise LostCacheError(sentence)


def run(console, command, timeout=120):
    output, status = console.run(command, timeout)
    require(status == 0, f"in the guest, '{command}' ended with status {status}: {output}")
    return output


def written_so_far(console):
    return int(run(console, PROGRESS).split()[-1])


def lose_host(pair, share):
    """Kills host a when the guest has written that share, and looks at what the guest then reads on host b."""
    console, client = pair.console("a")
    console.wait_for_login(BOOT_TIMEOUT)
    console.login(60)
    run(console, PREPARE)
    pair.wait_protected("a", PROTECT_TIMEOUT)
    run(console, WRITE)
    while (written := written_so_far(console)) < share * (SIZE_MIB << 20):
        pass
    pair.kill_host("a")
    client.kill()
    print(f"host a died when {written >> 10} KiB of {SIZE_MIB << 10} were written")
    require(written < SIZE_MIB << 20, "the guest had written everything by then")
    pair.wait_live("b", LIVE_TIMEOUT)

    console, client = pair.console("b")
    console.send("\r")
    console.wait_for(SHELL_PROMPT, 60)
    while written_so_far(console) < written + WRITTEN_AFTER:
        pass
    told = int(run(console, STOP).split()[-1]) * SECTOR
    require(told >= written + WRITTEN_AFTER, f"the guest says that only {told} bytes were written")
    output, status = console.run(COMPARE.format(bytes=told), 120)
    require(status == 0, f"the guest on host b doesn't find what it has written: {output}")
    print(f"the guest on host b has all the {told >> 10} KiB that it has written")
    pair.power_off("b")
    end = time.monotonic() + 120
    while pair.process("b"):
        require(time.monotonic() < end, "the guest doesn't switch itself off")
        time.sleep(0.2)
    client.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the moment of the death")
    parser.add_argument("--lab", default="cache", help="name of the network laboratory")
    arguments = parser.parse_args()
    if not os.path.exists("/dev/fuse"):
        print("skipped: hosts with caches of their own need /dev/fuse")
        return SKIPPED
    print(f"repeat it with: tests/linux/lost_cache.py --seed {arguments.seed}")
    logs = fresh_logs("lost_cache")
    good = False
    with Lab(arguments.lab) as lab:
        pair = Pair(lab, protection=PATIENT)
        try:
            for host in "ab":
                lab.cache(host, pair.vm.disk)
            pair.start_daemons()
            pair.start_vm("a")
            lose_host(pair, random.Random(arguments.seed).uniform(0.01, 0.1))
            checked = subprocess.run(["e2fsck", "-fn", pair.shared / pair.vm.disk], stdout=subprocess.PIPE, text=True)
            require(checked.returncode == 0, f"e2fsck finds faults on the disk:\n{checked.stdout}")
            print("e2fsck finds the file system in order")
            require(pair.divergences() == 0, "the two sides have diverged")
            good = True
        except (LostCacheError, ConsoleError, RuntimeError) as error:
            print(f"FAILED: {error}")
        finally:
            pair.keep_logs(logs)
            pair.end_processes()
    print(f"{'good' if good else 'NOT GOOD'}; the logs are in {logs}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
