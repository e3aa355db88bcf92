# SPDX-License-Identifier: Apache-2.0
"""A guest gets every packet that was sent to it while its owner's process died, or handed it over, and its backup went live.

Needs root, for the laboratory. Usage: orphan_frames_test.py PROGRAM, with toy machines in it.
"""

import pathlib
import re
import socket
import time
import unittest

from toy_lab import ToyLabTest

# Numbered frames to the guest, one in half a millisecond; how many, it is told.
SENDER = """
import socket, struct, sys, time
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("lan0", 0))
header = bytes.fromhex("101010101010" "020202020202" "88b5")
for number in range(int(sys.argv[1])):
    link.send(header + struct.pack("<I", number) + bytes(50))
    time.sleep(0.0005)
print("sent")
"""
FRAMES = 1500


class OrphanFramesTest(ToyLabTest):
    NAME = "orphans"

    def numbers_on(self, host):
        """Of the frames that the guest has got, by what it printed."""
        with socket.socket(socket.AF_UNIX) as console:
            console.connect(str(self.shared / host / "toy/console"))
            text, end = b"", time.monotonic() + 0.3
            while time.monotonic() < end:
                text += console.recv(1 << 16)  # it prints all the time
        return [int(number) for number in re.findall(rb"packet (\d+)\n", text)]

    def no_packet_is_lost(self, goes):
        self.protect("10:10:10:10:10:10")
        self.lab.start("client", "sender", "/usr/bin/python3", "-c", SENDER, FRAMES)
        self.wait_for("the first have come", lambda: self.status("a")["traffic"]["packets_in"] > 50)
        goes()
        self.wait_for("all are sent", lambda: "sent" in (pathlib.Path(self.lab.folder) / "sender.log").read_text())
        self.wait_for("the guest is on b", lambda: self.status("b").get("role") in ("solo", "primary"))
        self.wait_for("the last has come", lambda: FRAMES - 1 in self.numbers_on("b"), 10)
        self.assertEqual(sorted(set(range(FRAMES)) - set(self.numbers_on("b"))), [])

    def test_no_packet_is_lost_with_the_process(self):
        self.no_packet_is_lost(lambda: self.lab.kill("vm"))

    def test_no_packet_is_lost_when_the_guest_is_handed_over(self):
        self.no_packet_is_lost(self.hand_over)


if __name__ == "__main__":
    unittest.main(verbosity=2)
