#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stock guest and its operators: starts by hand that must be refused, what `status` says of a guest in trouble, and the
addresses that a guest has beside its own.

    operation.py [--only NAME...] [--lab NAME]

The logs of the processes are kept in build/operation.
"""

import argparse
import pathlib
import signal
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit import fresh_logs  # noqa: E402
from labkit.console import LOGIN_PROMPT, SHELL_PROMPT, ConsoleError  # noqa: E402
from labkit.lab import LOGGING_ADDRESS, Lab  # noqa: E402
from labkit.pair import DAEMON_PORT, PATIENT, Pair, other  # noqa: E402

BOOT_TIMEOUT = 600
PROTECT_TIMEOUT = 120
LIVE_TIMEOUT = 60
ADDRESS_WITHIN_S = 0.5  # of going live
CAREFUL_S = 1.0
STARTS = 10
# A container's interface in the guest, and one in a VLAN.
CONTAINER = ("0", "10.77.0.1", "10.77.0.20", "52:54:00:aa:bb:01")
VLAN = ("5", "10.80.0.1", "10.80.0.10", "52:54:00:aa:bb:05")
MORE_ADDRESSES = (
    f"ip netns add box && ip link add box0 link eth0 address {CONTAINER[3]} type macvlan mode bridge && "
    f"ip link set box0 netns box && ip -n box addr add {CONTAINER[2]}/24 dev box0 && ip -n box link set box0 up && "
    f"ip link add link eth0 name eth0.5 address {VLAN[3]} type vlan id {VLAN[0]} && "
    f"ip addr add {VLAN[2]}/24 dev eth0.5 && ip link set eth0.5 up"
)
BUSY_PERMILLE, IDLE_PERMILLE = 400, 300  # of a processor that others may use as well


class OperationError(Exception):
    """Something is not as it must be."""


def require(condition, sentence):
    if not condition:
        raise OperationError(sentence)


def wait_until(what, sentence, timeout):
    """Waits until `what()` is true, and returns it."""
    end = time.monotonic() + timeout
    while not (value := what()):
        require(time.monotonic() < end, f"not within {timeout} s: {sentence}")
        time.sleep(0.05)
    return value


class Probe:
    """The client asks for an address of the guest all the time (neighbour_probe.py)."""

    def __init__(self, lab, neighbour, log):
        self.address = neighbour[2]
        self.log = log
        script = pathlib.Path(__file__).with_name("neighbour_probe.py")
        with open(log, "w") as output:
            self.process = subprocess.Popen(lab.command("client", script, "lan0", *neighbour), stdout=output)

    def first_answer_after(self, moment_s):
        def first():
            return next((at for at in map(float, self.log.read_text().split()) if at > moment_s), None)

        return wait_until(first, f"{self.address} answers", 60)

    def end(self):
        self.process.kill()
        self.process.wait()


class Operation:
    def __init__(self, lab, pair, logs):
        self.lab = lab
        self.pair = pair
        self.logs = logs
        self.live = "a"

    def is_owner(self, host):
        status = self.pair.status(host)
        return bool(status) and status["role"] in ("solo", "primary", "waiting")

    def fail_over(self, what=signal.SIGKILL):
        """Kills the owner; returns when the other side went live."""
        self.pair.kill_vm(self.live, what)
        self.live = other(self.live)
        return self.pair.wait_live(self.live, LIVE_TIMEOUT)

    def wait_protected(self):
        self.pair.wait_protected(self.live, PROTECT_TIMEOUT)

    def begin_start(self, host, *options):
        """`lockstep run` in the background of this script."""
        command = self.lab.command(
            host, *self.pair.program(host), "run", "--background", *options, self.pair.config
        )
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def require_refusal(self, host, *words):
        """A start by hand is refused in one sentence with these words, and the owner goes on."""
        owner = self.pair.process(self.live)
        start = self.begin_start(host)
        _, said = start.communicate(timeout=60)
        require(start.returncode == 1, f"a start on {host} ended with status {start.returncode}: {said}")
        sentence = said.strip().splitlines()[-1]
        for word in words:
            require(word in sentence, f"the refusal doesn't speak of '{word}': {sentence}")
        require(self.pair.process(self.live) == owner and self.is_owner(self.live), "the owner has ended")
        print(f"  refused on {host}: {sentence}", flush=True)

    def console(self):
        """A shell of root on the guest's console."""
        console, process = self.pair.console(self.live)
        console.send("\r")
        console.wait_for(rb"login: ?$|root@[^ ]*# ?$", 60)
        if LOGIN_PROMPT.search(console.transcript):
            console.login(60)
        return console, process

    # What is looked at ---------------------------------------------------------------------------------------

    def other_addresses(self):
        """All addresses of a guest answer within half a second of its going live elsewhere."""
        console, process = self.console()
        output, status = console.run(MORE_ADDRESSES, 60)
        process.kill()
        require(status == 0, f"the guest can't make its addresses: {output}")
        probes = [Probe(self.lab, neighbour, self.logs / f"{neighbour[2]}.txt") for neighbour in (CONTAINER, VLAN)]
        try:
            for probe in probes:
                probe.first_answer_after(0)
            for _ in range(2):
                time.sleep(2)
                live_s = self.fail_over()
                for probe in probes:
                    after_s = probe.first_answer_after(live_s) - live_s
                    print(f"  {probe.address} answers {after_s * 1000:.0f} ms after going live on {self.live}", flush=True)
                    require(after_s < ADDRESS_WITHIN_S, f"{probe.address} was out of reach for {after_s:.2f} s")
                self.wait_protected()
        finally:
            for probe in probes:
                probe.end()

    def careful_start(self):
        """A signal of its own ends the owner's process: the other goes on without optimisations for a second."""
        self.fail_over(signal.SIGSEGV)
        status = self.pair.status(self.live)
        require(status["careful"] or status["live_ms"] >= CAREFUL_S * 1000, f"{self.live} isn't careful: {status}")
        require(status["careful"], "it went live too long ago to see")
        over = wait_until(lambda: not (status := self.pair.status(self.live))["careful"] and status, "it is over", 20)
        require(over["live_ms"] >= CAREFUL_S * 1000, f"it was careful for {over['live_ms']} ms only")
        print(f"  careful on {self.live} {status['live_ms']} ms after going live, not any more {over['live_ms']} ms after")
        self.wait_protected()

    def start_beside_an_owner(self):
        """A VM that runs is started on the other host, whose daemon can't ask the owner's."""
        self.lab.kill(f"daemon-{self.live}")
        backup = other(self.live)
        self.require_refusal(backup, "already runs on this host")
        self.pair.lockstep(self.live, "unprotect", self.pair.vm.name)
        wait_until(lambda: self.pair.process(backup) is None, "the backup ends", 30)
        self.require_refusal(backup, self.pair.vm.name, "keeps renewing it")
        self.pair.start_daemon(self.live)
        time.sleep(0.5)
        self.require_refusal(backup, "runs on", f"{LOGGING_ADDRESS[self.live]}:{DAEMON_PORT}")
        self.pair.lockstep(self.live, "protect", self.pair.vm.name)
        self.wait_protected()

    def start_of_the_loser(self):
        """The link between the hosts is cut, and the side that lost is started again by hand."""
        self.lab.cut("logging")
        try:
            wait_until(lambda: [self.pair.process(host) for host in "ab"].count(None) == 1, "one side ends", 30)
            self.live = next(host for host in "ab" if self.pair.process(host))
            require(self.is_owner(self.live), "the side that is left isn't the owner")
            self.require_refusal(other(self.live), self.pair.vm.name, "keeps renewing it")
        finally:
            self.lab.restore("logging")
        self.wait_protected()

    def panic(self):
        """What `status` says of a guest that works, rests, and panics."""
        console, process = self.console()
        wait_until(lambda: self.guest()["busy_permille"] < IDLE_PERMILLE, "status calls the guest idle", 60)
        console.send("timeout 8 sh -c 'while :; do :; done'\r")
        wait_until(lambda: self.guest()["busy_permille"] > BUSY_PERMILLE, "status calls the guest busy", 8)
        console.wait_for(SHELL_PROMPT, 30)
        panics = self.guest()["panics"]
        console.send("echo c > /proc/sysrq-trigger\r")
        guest = wait_until(lambda: (guest := self.guest())["panics"] > panics and guest, "status counts the panic", 30)
        require("sysrq" in guest["last_panic"], f"status says of the panic: {guest['last_panic']}")
        time.sleep(3)
        guest = self.guest()
        print(f"  {guest}", flush=True)
        require(guest["last_output_ms"] > 1000, "a panicked guest still lets something out")
        text = self.pair.lockstep(self.live, "status", self.pair.vm.name)
        require("panic" in text, f"status says nothing of the panic to people:\n{text}")
        process.kill()
        resets = guest["resets"]
        self.pair.lockstep(self.live, "reset", self.pair.vm.name)
        wait_until(lambda: self.guest()["resets"] > resets, "status counts the reset", 30)
        self.pair.wait_for_guest(BOOT_TIMEOUT)

    def guest(self):
        return self.pair.status(self.live)["guest"]

    def two_starts(self):
        """Of two starts at the same moment exactly one wins, with and without daemons that could be asked."""
        self.switch_off()
        for attempt in range(STARTS):
            if attempt == STARTS // 2:
                for host in "ab":
                    self.lab.kill(f"daemon-{host}")
            starts = {host: self.begin_start(host) for host in "ab"}
            said = {host: start.communicate(timeout=60)[1].strip() for host, start in starts.items()}
            won = [host for host in "ab" if starts[host].returncode == 0]
            require(len(won) == 1, f"of two starts {won} won: {said}")
            self.live = won[0]
            print(f"  {attempt + 1}: {self.live} won; the other: {said[other(self.live)].splitlines()[-1]}", flush=True)
            time.sleep(1)
            require(self.is_owner(self.live) and not self.is_owner(other(self.live)), "not one owner, a second later")
            self.switch_off()
        self.pair.start_daemons()

    def start_by_force(self):
        """`--force` says what it risks, in its help and when it is used."""
        require("destroy" in self.pair.lockstep("a", "run", "--help"), "the help of --force doesn't say what it risks")
        self.switch_off()
        start = self.begin_start("a", "--force")
        _, said = start.communicate(timeout=60)
        require(start.returncode == 0, f"a start by force failed: {said}")
        require("by force" in said and "destroys the file systems" in said, f"a start by force said: {said}")
        self.live = "a"
        self.switch_off()

    def switch_off(self):
        if self.pair.process(self.live):
            self.pair.power_off(self.live)
        wait_until(lambda: not any(map(self.pair.process, "ab")), "both sides end", 60)


CHECKS = [
    "other_addresses",
    "careful_start",
    "start_beside_an_owner",
    "start_of_the_loser",
    "panic",
    "two_starts",
    "start_by_force",
]


def run(operation, names):
    """Every one of them, even where one before has failed; whether all were good."""
    good = True
    for name in names:
        print(f"{name} ...", flush=True)
        started = time.monotonic()
        try:
            getattr(operation, name)()
            print(f"{name}: good, {time.monotonic() - started:.1f} s", flush=True)
        except (OperationError, ConsoleError, RuntimeError) as error:
            print(f"{name}: FAILED: {error}", flush=True)
            return False
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=CHECKS)
    parser.add_argument("--lab", default="operate", help="name of the network laboratory")
    arguments = parser.parse_args()
    logs = fresh_logs("operation")
    good = False
    with Lab(arguments.lab) as lab:
        pair = Pair(lab, protection=PATIENT)
        try:
            pair.start_daemons()
            pair.start_vm("a")
            pair.wait_for_guest(BOOT_TIMEOUT)
            pair.wait_protected("a", PROTECT_TIMEOUT)
            good = run(Operation(lab, pair, logs), arguments.only) and pair.divergences() == 0
        finally:
            pair.keep_logs(logs)
            pair.end_processes()
    print(f"{'good' if good else 'NOT GOOD'}; the logs are in {logs}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
