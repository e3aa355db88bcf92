#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A protected stock guest under one fault after the other, with a client at work all the time: after each fault
exactly one side is live, the guest is protected again, and no connection, acknowledged write or byte is lost.

    faults.py [--only NAME...] [--lab NAME]

The logs of the processes are kept in build/faults.
"""

import argparse
import os
import pathlib
import signal
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit import fresh_logs  # noqa: E402
from labkit.lab import Lab  # noqa: E402
from labkit.load import Load, losses  # noqa: E402
from labkit.pair import PATIENT, Pair, other  # noqa: E402

BOOT_TIMEOUT = 600
PROTECT_TIMEOUT = 120
LIVE_TIMEOUT = 60
ALONE_WITHIN_S = 1.0  # of the end of its backup a primary goes on alone
HELD_GAP_MS = 2000  # what a client may notice of that: the outputs that were held leave then


class FaultError(Exception):
    """Something is not as it must be after a fault."""


def require(condition, sentence):
    if not condition:
        raise FaultError(sentence)


def wait_until(what, sentence, timeout):
    """Waits until `what()` is true."""
    end = time.monotonic() + timeout
    while not what():
        require(time.monotonic() < end, f"not within {timeout} s: {sentence}")
        time.sleep(0.05)


class Faults:
    def __init__(self, lab, pair, load):
        self.lab = lab
        self.pair = pair
        self.load = load
        self.live = "a"

    # What the faults are checked by ------------------------------------------------------------------------

    def is_live(self, host):
        status = self.pair.status(host)
        return bool(status) and status["role"] in ("solo", "primary")

    def wait_protected_again(self):
        """The VM is protected, and only one side is live."""
        self.pair.wait_protected(self.live, PROTECT_TIMEOUT)
        require(not self.is_live(other(self.live)), "both sides are live")

    def survivor_is(self, host):
        self.pair.wait_live(host, LIVE_TIMEOUT)
        self.live = host

    # The faults --------------------------------------------------------------------------------------------

    def backup_killed(self):
        """The primary goes on alone within a second, and lets out what it held. No daemon answers for a while, so
        that no new backup hides that; then one is found."""
        backup = other(self.live)
        self.lab.kill(f"daemon-{backup}")
        self.load.mark()
        killed = self.pair.kill_vm(backup)
        wait_until(lambda: (self.pair.status(self.live) or {}).get("state") == "Solo", "the primary is alone", 10)
        alone_s = time.monotonic() - killed
        require(alone_s < ALONE_WITHIN_S, f"the primary was alone only {alone_s:.2f} s after the kill")
        time.sleep(2)
        gap_ms = self.load.report()["longest_gap_since_mark_ms"]
        require(gap_ms < HELD_GAP_MS, f"a client waited {gap_ms:.0f} ms")
        require(self.pair.status(self.live)["held_outputs"] == 0, "outputs are held though nobody is to acknowledge them")
        print(f"backup_killed: alone {alone_s * 1000:.0f} ms after the kill, longest gap {gap_ms:.0f} ms", flush=True)
        self.pair.start_daemon(backup)

    def primary_killed(self):
        self.pair.kill_vm(self.live)
        self.survivor_is(other(self.live))

    def primary_stopped(self):
        """A primary that is stopped loses; continued, it finds that out and ends. No daemon answers meanwhile, which would
        end it for the survivor's backup."""
        loser = self.live
        stopped = self.pair.process(loser)
        self.lab.kill(f"daemon-{loser}")
        self.pair.kill_vm(loser, signal.SIGSTOP)
        try:
            self.survivor_is(other(loser))
            time.sleep(2)
        finally:
            os.kill(stopped, signal.SIGCONT)
        wait_until(lambda: self.pair.process(loser) != stopped, "the continued primary ends", 10)
        self.pair.start_daemon(loser)
        require(self.is_live(self.live), "the survivor has ended")

    def backup_hangs(self):
        """Its host ends it, and has a new one."""
        self.hang(other(self.live))

    def primary_hangs(self):
        """The survivor's backup takes its place."""
        hung = self.live
        self.hang(hung, lambda: self.survivor_is(other(hung)))

    def hang(self, host, then=lambda: None):
        hung = self.pair.process(host)
        self.pair.kill_vm(host, signal.SIGSTOP)
        then()
        wait_until(lambda: self.pair.process(host) not in (hung, None), "the process that hangs is replaced", 60)

    def logging_cut(self):
        """Either side may win; exactly one does."""
        self.lab.cut("logging")
        try:
            time.sleep(5)
            live = [host for host in "ab" if self.is_live(host)]
            require(len(live) == 1, f"live are {live}")
            self.live = live[0]
            wait_until(lambda: self.pair.process(other(self.live)) is None, "the loser ends", 20)
        finally:
            self.lab.restore("logging")

    def heartbeats_cut(self):
        """The log still flows; whether that leads to a fail-over or not, exactly one side stays live."""
        self.lab.cut("heartbeats")
        try:
            time.sleep(5)
            live = [host for host in "ab" if self.is_live(host)]
            require(len(live) == 1, f"live are {live}")
            self.live = live[0]
        finally:
            self.lab.restore("heartbeats")

    def logging_slow(self):
        """Everything arrives, but late: a round trip above the lease. The primary gives its backup up, says why,
        and isn't protected again before the link is quick enough; clients wait for a while at most."""
        self.load.mark()
        self.lab.slow(400)
        try:
            time.sleep(12)
            status = self.pair.status(self.live)
            gap_ms = self.load.report()["longest_gap_since_mark_ms"]
            require(status and self.is_live(self.live), "the primary has ended")
            require(not status["protected"], "a backup that lets nothing out counts as protection")
            require(gap_ms < HELD_GAP_MS, f"a client waited {gap_ms:.0f} ms")
            print(f"logging_slow: state {status['state']}, longest gap {gap_ms:.0f} ms, why: {status['why']}", flush=True)
        finally:
            self.lab.slow(0)

    def arbiter_away(self):
        """The primary dies while the shared storage can't be reached: nobody goes live until it is back."""
        survivor = other(self.live)
        self.lab.cut("storage")
        try:
            self.pair.kill_vm(self.live)
            time.sleep(4)
            require(self.pair.process(survivor) is not None, "the backup has ended")
            require(not self.is_live(survivor), "the backup went live without the arbiter")
        finally:
            self.lab.restore("storage")
        self.survivor_is(survivor)

    def power_off_in_the_guest(self):
        """Both sides end, and neither takes it for a failure."""
        term = self.pair.status(self.live)["term"]
        console, process = self.pair.console(self.live)
        console.send("\r")
        console.wait_for_login(60)
        console.login(60)
        console.send("systemctl poweroff\r")
        for host in "ab":
            wait_until(lambda host=host: self.pair.process(host) is None, f"the VM on host {host} ends", 120)
        process.wait(timeout=30)
        claims = (self.pair.shared / "arbiter").iterdir()
        claimed = max(int(claim.name.rpartition("-")[2]) for claim in claims if "term-" in claim.name)
        require(claimed == term, f"term {claimed} was claimed after the power-off in term {term}")


FAULTS = [
    "backup_killed",
    "primary_killed",
    "heartbeats_cut",
    "primary_stopped",
    "backup_hangs",
    "primary_hangs",
    "logging_cut",
    "logging_slow",
    "arbiter_away",
]


def run(faults, names):
    load = faults.load
    good = True
    for name in names:
        started = time.monotonic()
        load.mark()
        before = losses(load.report())
        getattr(faults, name)()
        faults.wait_protected_again()
        report = load.report_after(time.monotonic())
        lost = losses(report) - before
        print(f"{name}: {'good' if not lost else f'{lost} LOST'}; live on host {faults.live},"
              f" protected again {time.monotonic() - started:.1f} s after the start,"
              f" longest gap {report['longest_gap_since_mark_ms']:.0f} ms", flush=True)  # fmt: skip
        good = good and not lost
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=FAULTS)
    parser.add_argument("--lab", default="faults", help="name of the network laboratory")
    arguments = parser.parse_args()
    logs = fresh_logs("faults")
    good = False
    with Lab(arguments.lab) as lab, open(logs / "load_client.log", "w") as errors:
        pair = Pair(lab, protection=PATIENT)
        try:
            pair.start_daemons()
            pair.start_vm("a")
            pair.wait_for_guest(BOOT_TIMEOUT)
            pair.wait_protected("a", PROTECT_TIMEOUT)
            load = Load(lab, errors)
            faults = Faults(lab, pair, load)
            try:
                time.sleep(3)
                good = run(faults, arguments.only)
                good = losses(load.end()) == 0 and good
            finally:
                load.abandon()
            faults.power_off_in_the_guest()
            print("power_off_in_the_guest: good")
            divergences = pair.divergences()
            print(f"divergences: {divergences}")
            good = good and divergences == 0
        except (FaultError, RuntimeError) as error:
            print(f"FAILED: {error}")
            good = False
        finally:
            pair.keep_logs(logs)
            pair.end_processes()
    print(f"{'good' if good else 'NOT GOOD'}; the logs are in {logs}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
