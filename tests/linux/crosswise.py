#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two protected guests crosswise: VM one runs on host a with its backup on b, VM two on b with its backup on a, and
clients work with both. First VM one loses its primary alone; then host b fails, with both VMs on it. Each time both
go on, VM two isn't even touched by the first, both are protected again, and nobody has lost anything.

    crosswise.py [--lab NAME]

The logs of the processes are kept in build/crosswise.
"""

import argparse
import pathlib
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit import fresh_logs  # noqa: E402
from labkit.console import ConsoleError  # noqa: E402
from labkit.lab import Lab  # noqa: E402
from labkit.load import Load, losses  # noqa: E402
from labkit.pair import PATIENT, SECOND_VM, Pair, other  # noqa: E402

# Four guests execute on two processors, more slowly than one pair.
BOOT_TIMEOUT = 1200
PROTECT_TIMEOUT = 240
LIVE_TIMEOUT = 60


class CrosswiseError(Exception):
    """Something is not as it must be."""


def require(condition, sentence):
    if not condition:
        raise CrosswiseError(sentence)


def wait_for_login(pair, host):
    console, carrier = pair.console(host)
    try:
        console.send("\r")
        console.wait_for_login(120)
    finally:
        carrier.kill()
        carrier.wait()


def require_roles(pair, live):
    """The VM is live on one host, and its backup is on the other."""
    pair.wait_protected(live, PROTECT_TIMEOUT)
    there = pair.status(other(live))
    require(there and there["role"] == "backup", f"VM {pair.vm.name}: no backup on {other(live)}: {there}")


class Crosswise:
    def __init__(self, lab, errors):
        self.lab = lab
        self.errors = errors
        self.one = Pair(lab, protection=PATIENT)
        self.two = Pair(lab, vm=SECOND_VM, protection=PATIENT)
        self.pairs = (self.one, self.two)
        self.loads = []
        self.started = time.monotonic()

    def say(self, sentence):
        print(f"[{time.monotonic() - self.started:6.1f} s] {sentence}", flush=True)

    def boot(self):
        self.one.start_daemons()
        self.one.start_vm("a")
        self.two.start_vm("b")
        for pair, host in ((self.one, "a"), (self.two, "b")):
            pair.wait_for_guest(BOOT_TIMEOUT)
            wait_for_login(pair, host)
            require_roles(pair, host)
        self.say("both guests are at the login prompt and protected, one a->b, two b->a")

    def start_loads(self):
        self.loads = [Load(self.lab, self.errors, address=pair.vm.address) for pair in self.pairs]
        time.sleep(5)

    def check_loads(self, event):
        """Both clients are served again, and have lost nothing."""
        before = [load.report() for load in self.loads]
        time.sleep(5)
        for pair, load, earlier in zip(self.pairs, self.loads, before):
            report = load.report_after(time.monotonic())
            require(losses(report) == 0, f"VM {pair.vm.name} lost after {event}: {report}")
            for kind in ("echo", "redis", "http"):
                done = report[kind]["operations"] - earlier[kind]["operations"]
                require(done > 0, f"VM {pair.vm.name}: no {kind} operation for 5 s after {event}")
            self.say(f"VM {pair.vm.name}: nothing lost, longest gap {report['longest_gap_since_mark_ms']:.0f} ms")

    def the_primary_of_one_dies(self):
        before = self.two.status("b")
        backup_of_two = self.two.process("a")
        for load in self.loads:
            load.mark()
        killed = self.one.kill_vm("a")
        live = self.one.wait_live("b", LIVE_TIMEOUT)
        self.say(f"VM one lost its primary on a, and was live on b {(live - killed) * 1000:.0f} ms later")
        after = self.two.status("b")
        require(after and after["protected"] and after["term"] == before["term"], f"VM two was harmed: {after}")
        require_roles(self.one, "b")
        require_roles(self.two, "b")
        self.check_loads("the end of the primary of VM one")
        require(self.two.status("b")["term"] == before["term"], "VM two changed its term")
        require(self.two.process("a") == backup_of_two, "VM two lost its backup")
        self.say("VM two kept its term and its backup; both are protected, by host a")

    def host_b_dies(self):
        """Both VMs are live on it by now."""
        for load in self.loads:
            load.mark()
        killed = [pair.kill_vm("b") for pair in self.pairs]
        for pair, then in zip(self.pairs, killed):
            live = pair.wait_live("a", LIVE_TIMEOUT)
            self.say(f"host b failed, and VM {pair.vm.name} was live on a {(live - then) * 1000:.0f} ms later")
        for pair in self.pairs:
            require_roles(pair, "a")
        self.check_loads("the end of host b")
        self.say("both are protected again, by host b")

    def run(self):
        self.boot()
        self.start_loads()
        self.check_loads("the start")
        self.the_primary_of_one_dies()
        self.host_b_dies()
        for pair, load in zip(self.pairs, self.loads):
            report = load.end()
            require(losses(report) == 0, f"VM {pair.vm.name} lost: {report}")
        require(self.one.divergences() == 0, f"{self.one.divergences()} divergences")
        for pair in self.pairs:
            pair.power_off("a")
        end = time.monotonic() + 60
        while any(pair.process(host) for pair in self.pairs for host in "ab"):
            require(time.monotonic() < end, "a VM has not ended 60 s after it was powered off")
            time.sleep(0.2)

    def end(self):
        for load in self.loads:
            load.abandon()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lab", default="cross", help="name of the network laboratory")
    arguments = parser.parse_args()
    logs = fresh_logs("crosswise")
    good = False
    with Lab(arguments.lab) as lab, open(logs / "load_client.log", "w") as errors:
        crosswise = Crosswise(lab, errors)
        try:
            crosswise.run()
            good = True
        except (CrosswiseError, ConsoleError, RuntimeError) as error:
            print(f"FAILED: {error}")
        finally:
            crosswise.end()
            crosswise.one.keep_logs(logs)
            for pair in (crosswise.one, crosswise.two):
                pair.end_processes()
    print(f"{'good' if good else 'NOT GOOD'}; the logs are in {logs}; to repeat: {' '.join(sys.argv)}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
