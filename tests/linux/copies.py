#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stock guest is copied again and again while programs write its memory and clients work with it; each time its owner is
killed the moment that it is protected.

    copies.py [--rounds N] [--seed N] [--lab NAME]

The states of the two sides are compared all along, and all of the memory when the guest is switched off. No connection, no
acknowledged write and no byte may be lost, and no two states may differ. A copy that is given up in the middle comes before
each.
"""

import argparse
import pathlib
import random
import re
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit.lab import Lab  # noqa: E402
from labkit.load import Load, losses  # noqa: E402
from labkit.pair import PATIENT, Pair, other  # noqa: E402

BOOT_TIMEOUT, PROTECT_TIMEOUT, LIVE_TIMEOUT = 300, 120, 60
WRITE = (
    "dd if=/dev/urandom of=/dev/shm/a bs=1M count=48 status=none; "
    "(while :; do dd if=/dev/shm/a of=/dev/shm/b bs=1M status=none; find /usr/lib -type f | md5sum > /dev/shm/c; done) & true"
)


def write_memory(pair):
    console, client = pair.console("a")
    console.wait_for_login(BOOT_TIMEOUT)
    console.login(120)
    console.run(WRITE, 120)
    client.kill()


def copy_and_kill(pair, live, draw):
    """Ends a copy in the middle, has another made, and kills the owner; returns who is the owner then."""
    pair.lockstep(live, "unprotect", pair.vm.name)
    time.sleep(0.5)
    pair.lockstep(live, "protect", pair.vm.name)
    time.sleep(draw.uniform(0, 2.5))
    pair.lockstep(live, "unprotect", pair.vm.name)
    time.sleep(0.5)
    pair.lockstep(live, "protect", pair.vm.name)
    pair.wait_protected(live, PROTECT_TIMEOUT)
    copy = pair.status(live)["copy"]
    print(f"{live}: cut {copy['cut_ms']:.2f} ms, longest pause {copy['longest_pause_ms']:.2f} ms", flush=True)
    pair.kill_vm(live)
    pair.wait_live(other(live), LIVE_TIMEOUT)
    pair.wait_protected(other(live), PROTECT_TIMEOUT)
    return other(live)


def wait_for_hashes(pair, host, count):
    end = time.monotonic() + PROTECT_TIMEOUT
    while (state := pair.status(host)) is None or state["state_hashes"] < count:
        if time.monotonic() > end:
            raise RuntimeError(f"the backup on {host} compares no states: {state}")
        time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--lab", default="copies")
    arguments = parser.parse_args()
    print(f"repeat it with: tests/linux/copies.py --seed {arguments.seed} --rounds {arguments.rounds}", flush=True)
    draw = random.Random(arguments.seed)
    with Lab(arguments.lab) as lab:
        pair, load = Pair(lab, protection=PATIENT), None
        try:
            pair.start_daemons()
            pair.start_vm("a")
            pair.wait_for_guest(BOOT_TIMEOUT)
            pair.wait_protected("a", PROTECT_TIMEOUT)
            load = Load(lab, sys.stderr)
            write_memory(pair)
            live = "a"
            for _ in range(arguments.rounds):
                live = copy_and_kill(pair, live, draw)
                wait_for_hashes(pair, other(live), 3)
            lost = losses(load.end())
            pair.power_off(live)
            pair.wait_ended(60)
            logs = "".join(log.read_text(errors="replace") for log in pathlib.Path(lab.folder).rglob("*.log"))
            ended = len(re.findall("the guest is off", logs))
            print(f"lost {lost}, divergences {pair.divergences()}, sides that ended with the guest {ended}")
            return 0 if lost == 0 and pair.divergences() == 0 and ended else 1
        finally:
            if load:
                load.abandon()
            pair.end_processes()


if __name__ == "__main__":
    sys.exit(main())
