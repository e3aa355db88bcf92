#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A protected stock guest is copied to a file while a client writes to it; what was made of the file later is asked for
the client's data.

    snapshots.py [--rounds N] [--memory "512 MiB"] [--lab NAME]

The client writes numbers, one after the other, each with its square, in one step, to redis' memory. A snapshot has all numbers up
to one that the client had been told of when the snapshot was asked for, or was told of until it was whole, and none
after; each with its square. The guest's file systems stand still while its disk is copied, as an operator has it: see
"Snapshots" in docs/operation.md. Then both sides are switched off, and the VM goes on from file and copied disk, on the other
host.
"""

import argparse
import pathlib
import subprocess
import sys
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit.lab import Lab  # noqa: E402
from labkit.pair import PATIENT, Pair, other  # noqa: E402

BOOT_TIMEOUT, PROTECT_TIMEOUT, COPY_TIMEOUT, OFF_TIMEOUT = 300, 120, 300, 60
WORST_PAUSE_MS = 5
WRITE_NUMBER = "local n = redis.call('INCR', 'count'); redis.call('SET', 'square:'..n, n * n); return n"
COUNT_WRONG = (
    "local wrong = 0; for n = 1, redis.call('GET', 'count') do "
    "if tonumber(redis.call('GET', 'square:'..n)) ~= n * n then wrong = wrong + 1 end end; return wrong"
)
# The file systems go on by themselves, in the guest that runs as in the one made of the file.
STAND_STILL = "sync; (fsfreeze --freeze / && sleep {seconds}; fsfreeze --unfreeze /) & sleep 1; true"
STAND_STILL_S = 15


class Numbers(threading.Thread):
    """The client: the last number whose write the guest has acknowledged."""

    def __init__(self, lab, address):
        super().__init__(daemon=True)
        self.process = subprocess.Popen(
            lab.command("client", "redis-cli", "-h", address),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self.acknowledged = 0
        self.start()

    def run(self):
        try:
            while True:
                self.process.stdin.write(f'EVAL "{WRITE_NUMBER}" 0\n')
                self.acknowledged = int(self.process.stdout.readline())
        except (OSError, ValueError):
            return  # the guest is off

    def end(self):
        self.process.kill()
        self.process.wait()


class Snapshots:
    def __init__(self, lab, pair):
        self.lab = lab
        self.pair = pair
        self.live = "a"
        self.disk = pair.shared / pair.vm.disk

    def redis(self, *arguments):
        done = self.lab.run("client", "redis-cli", "-h", self.pair.vm.address, *arguments, timeout=60)
        return done.stdout.strip()

    def stop_disk_writes(self):
        """Freezes the guest's file systems for a while; nothing that the client asks for needs them."""
        self.redis("CONFIG", "SET", "save", "")
        console, client = self.pair.console(self.live)
        console.wait_for_login(BOOT_TIMEOUT)
        console.login(120)
        console.run(STAND_STILL.format(seconds=STAND_STILL_S), 60)
        client.kill()  # root stays logged in

    def take(self, number):
        """Makes the file and the copy of the disk; returns both, and the least and the greatest number that it may end with."""
        file, disk = (self.pair.shared / f"{number}.{kind}" for kind in ("snapshot", "raw"))
        numbers = Numbers(self.lab, self.pair.vm.address)
        self.stop_disk_writes()
        least = numbers.acknowledged
        self.pair.lockstep(self.live, "snapshot", self.pair.vm.name, file, timeout=COPY_TIMEOUT)
        most = numbers.acknowledged + 1  # one may be done and not yet be acknowledged
        copy = self.pair.status(self.live)["copy"]
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", self.disk, disk], check=True)
        time.sleep(1)
        if numbers.acknowledged <= most:
            raise RuntimeError("the guest did not go on after the snapshot")
        numbers.end()
        return file, disk, least, most, copy["longest_pause_ms"]

    def go_on_from(self, file, disk):
        disk.rename(self.disk)
        self.live = other(self.live)
        self.pair.lockstep(self.live, "run", "--from", file, "--background", self.pair.config, timeout=COPY_TIMEOUT)
        self.pair.wait_for_guest(BOOT_TIMEOUT)

    def round(self, number):
        """Returns what is wrong, as sentences."""
        file, disk, least, most, pause_ms = self.take(number)
        self.pair.power_off(self.live)
        self.pair.wait_ended(OFF_TIMEOUT)
        self.go_on_from(file, disk)
        found, wrong = int(self.redis("GET", "count")), self.redis("EVAL", COUNT_WRONG, "0")
        print(f"round {number}: longest pause {pause_ms:.2f} ms (bound {WORST_PAUSE_MS}), numbers up to {found} ({least} to {most} may be),"
              f" {wrong} of them wrong", flush=True)  # fmt: skip
        self.pair.wait_protected(self.live, PROTECT_TIMEOUT)
        # What the thawed file systems are worth: written to, and read back past the guest's cache.
        console, client = self.pair.console(self.live)
        console.send("\r")
        console.run("while ! touch /root/thawed; do sleep 1; done; dmesg -n 1", 60)
        output, status = console.run(
            "head -c 20M /dev/urandom > /root/a && sync && md5sum < /root/a > /root/b && echo 3 > /proc/sys/vm/drop_caches"
            " && md5sum < /root/a | cmp - /root/b && ! dmesg | grep -i 'ext4.*error'", 120,
        )  # fmt: skip
        console.send("exit\r")
        console.wait_for_login(60)
        client.kill()
        file.unlink()
        return [
            sentence
            for fault, sentence in (
                (not least <= found <= most, f"the last number is {found}"),
                (wrong != "0", f"{wrong} numbers have a wrong square"),
                (status != 0, f"the disk's file system is not whole: {output}"),
            )
            if fault
        ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--memory", default="512 MiB")
    parser.add_argument("--lab", default="snap")
    arguments = parser.parse_args()
    with Lab(arguments.lab) as lab:
        pair = Pair(lab, memory=arguments.memory, protection=PATIENT)
        try:
            pair.start_daemons()
            pair.start_vm("a")
            pair.wait_for_guest(BOOT_TIMEOUT)
            pair.wait_protected("a", PROTECT_TIMEOUT)
            snapshots = Snapshots(lab, pair)
            faults = [fault for number in range(arguments.rounds) for fault in snapshots.round(number)]
            faults += [f"{pair.divergences()} divergences"] if pair.divergences() else []
            print("\n".join(faults) or "every snapshot was whole")
            return 1 if faults else 0
        finally:
            pair.end_processes()


if __name__ == "__main__":
    sys.exit(main())
