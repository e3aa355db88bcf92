"""The load from outside the guest: load_client in the laboratory's client namespace."""

import json
import subprocess

from . import BUILD
from .lab import GUEST_ADDRESS

LOAD_CLIENT = BUILD / "apps/load_client/load_client"


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
