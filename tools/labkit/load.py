# SPDX-License-Identifier: Apache-2.0
"""The load from outside the guest: load_client in the laboratory's client namespace."""

import dataclasses
import json
import subprocess
import time

from . import BUILD
from .lab import GUEST_ADDRESS

LOAD_CLIENT = BUILD / "apps/load_client/load_client"
# What works on connections that stay open, and what makes a new one for each operation: a SYN that is lost is sent
# again only after a second, a lost segment after some 200 ms.
OPEN_LOADS = ("echo", "redis")
NEW_LOADS = ("http",)
SENT_AGAIN_S = 0.2
LOADS = OPEN_LOADS + NEW_LOADS


@dataclasses.dataclass(frozen=True)
class Gap:
    """A time of 50 ms or more, or of as many as the client was told, in which a load had no answer."""

    load: str
    start_s: float  # steady clock
    length_ms: float
    asked_s: float  # when the client had asked for the answer that ended it
    resent: int  # segments that the client's system sent again meanwhile

    @property
    def end_s(self):
        return self.start_s + self.length_ms / 1000

    def cause(self, failed_s, live_s):
        """Where what the client waited for was lost, the guest having failed on one host and gone live on the other: the
        client's system sends a request again until it is acknowledged, for the first time after SENT_AGAIN_S. Where the
        guest is live only then, that says nothing."""
        if not self.resent:
            return "answer late"
        if self.asked_s < live_s and live_s - max(self.asked_s, failed_s) > SENT_AGAIN_S:
            return "guest live late"
        if self.asked_s < failed_s:
            return "request lost in the dead process"
        return "request lost while nobody read" if self.asked_s < live_s else "request lost later"


def gaps_between(report, from_s, to_s, least_ms=50):
    """Every gap of a report that lasts so long and has a part in the time between two moments, in the order of their beginnings."""
    gaps = [
        Gap(load, gap["end_s"] - gap["gap_ms"] / 1000, gap["gap_ms"], gap["asked_s"], gap["resent"])
        for load in LOADS
        for gap in report[load]["gaps"]["long_gaps"]
    ]
    between = (gap for gap in gaps if gap.length_ms >= least_ms and gap.end_s > from_s and gap.start_s < to_s)
    return sorted(between, key=lambda gap: gap.start_s)


def longest_ms(gaps, loads):
    """The longest of the gaps that these loads had; 0: none."""
    return max((gap.length_ms for gap in gaps if gap.load in loads), default=0)


class Load:
    def __init__(self, lab, errors, *options, address=GUEST_ADDRESS):
        """Starts the load; what the client complains of goes to the open file `errors`."""
        self.process = subprocess.Popen(
            lab.command("client", LOAD_CLIENT, address, *options),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1,
        )  # fmt: skip

    def mark(self):
        """The longest gap "since the mark" begins anew."""
        self.process.stdin.write("mark\n")

    def report(self):
        self.process.stdin.write("report\n")
        return json.loads(self.process.stdout.readline())

    def report_after(self, moment_s, timeout_s=60):
        """A report of a time when every load has been answered after `moment_s` (steady clock): each gap that began
        before that has ended, and is in the report with its whole length."""
        while True:
            report = self.report()
            silent_since_s = min(report["now_s"] - report[load]["gaps"]["open_ms"] / 1000 for load in LOADS)
            if silent_since_s > moment_s:
                return report
            if report["now_s"] > moment_s + timeout_s:
                raise RuntimeError(f"a client has had no answer for {report['now_s'] - silent_since_s:.0f} s")
            time.sleep(0.1)

    def end(self):
        """Ends the load, reads every acknowledged write back, and returns the final report."""
        self.process.stdin.write("end\n")
        report = json.loads(self.process.stdout.readline())
        self.process.wait()
        return report

    def abandon(self):
        """Ends the client whatever it is doing."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def losses(report):
    """What a report says was lost, as one number: 0 is the promise."""
    kinds = ("connections_lost", "answers_wrong", "acknowledged_writes_lost", "bytes_wrong")
    return sum(report[kind] for kind in kinds)
