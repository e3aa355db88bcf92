#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A protected guest that firmware starts from its own disk loses its host again and again: in the firmware, in the boot
loader, while its kernel boots. It comes up as it would have, with no divergence.

    uefi_pair.py [--fail-overs N] [--seed N] [--lab NAME]

The logs of the processes are kept in build/uefi_pair.
"""

import argparse
import pathlib
import random
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit import fresh_logs  # noqa: E402
from labkit.console import LOGIN_PROMPT, ConsoleError  # noqa: E402
from labkit.lab import Lab  # noqa: E402
from labkit.pair import PATIENT, Pair, other  # noqa: E402

BOOT_TIMEOUT = 900
PROTECT_TIMEOUT = 120
LIVE_TIMEOUT = 60
LONGEST_PAUSE_S = 2


class UefiPair(Pair):
    """Whose VM has no kernel, but a disk that brings its own."""

    def _configuration(self, memory):
        subprocess.run([TOP / "tools/build_uefi_disk", self.image, self.shared / self.vm.disk], check=True)
        lines = super()._configuration(memory).splitlines()
        of_kernel = ("kernel =", "initrd =", "command_line =")
        return "\n".join(line for line in lines if not line.startswith(of_kernel)) + "\n"


def fail_over(pair, live, pause_s):
    """Kills the live side a while after it is protected; returns the one that goes on."""
    pair.wait_protected(live, PROTECT_TIMEOUT)
    time.sleep(pause_s)
    instructions = pair.status(live)["icount"]
    killed_at = pair.kill_vm(live)
    survivor = other(live)
    live_ms = (pair.wait_live(survivor, LIVE_TIMEOUT) - killed_at) * 1000
    print(f"host {live} died after about {instructions / 1e9:.2f} billion instructions; host {survivor} was live {live_ms:.0f} ms "
          "later", flush=True)  # fmt: skip
    return survivor


def come_up(pair, live):
    """Waits for the guest's login prompt on the host where it is live now, and looks at how it was started."""
    console, client = pair.console(live)
    end = time.monotonic() + BOOT_TIMEOUT
    while True:
        console.send("\r")
        try:
            console.wait_for(LOGIN_PROMPT, 5)
            break
        except ConsoleError:
            if time.monotonic() > end:
                raise
    console.login(120)
    output, status = console.run("test -d /sys/firmware/efi && systemctl is-system-running --wait", 300)
    client.kill()
    if status != 0:
        raise RuntimeError(f"the guest isn't as it should be: {output}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fail-overs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the moments of the deaths")
    parser.add_argument("--lab", default="uefi", help="name of the network laboratory")
    arguments = parser.parse_args()
    print(f"repeat it with: tests/linux/uefi_pair.py --fail-overs {arguments.fail_overs} --seed {arguments.seed}", flush=True)
    draw = random.Random(arguments.seed)
    logs = fresh_logs("uefi_pair")
    good = False
    with Lab(arguments.lab) as lab:
        pair = UefiPair(lab, protection=PATIENT)
        try:
            pair.start_daemons()
            pair.start_vm("a")
            live = "a"
            for number in range(arguments.fail_overs):  # the first ones in the firmware
                live = fail_over(pair, live, 0 if number < 2 else draw.uniform(0, LONGEST_PAUSE_S))
            come_up(pair, live)
            if pair.divergences():
                raise RuntimeError("the two sides have diverged")
            good = True
        except (ConsoleError, RuntimeError) as error:
            print(f"FAILED: {error}")
        finally:
            pair.keep_logs(logs)
            pair.end_processes()
    print(f"{'good' if good else 'NOT GOOD'}; the logs are in {logs}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
