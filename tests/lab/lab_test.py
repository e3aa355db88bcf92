# SPDX-License-Identifier: Apache-2.0
"""The network laboratory joins and cuts what it says. Needs root, like the laboratory itself."""

import os
import pathlib
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from labkit.lab import Lab  # noqa: E402

NAME = "labtest"
UDP_ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.78.0.2", 9000))
while True:
    data, peer = s.recvfrom(100)
    s.sendto(data, peer)
"""
UDP_ASK = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.5)
s.sendto(b"?", ("10.78.0.2", 9000))
s.recv(100)
"""


def answers(lab, where, address):
    """Whether a ping is answered within 2 seconds."""
    return lab.run(where, "ping", "-c", "1", "-W", "2", address).returncode == 0


def udp_answers(lab):
    return lab.run("a", "/usr/bin/python3", "-c", UDP_ASK).returncode == 0


class LabTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(NAME)
        cls.lab.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.lab.__exit__()

    def test_client_and_hosts_reach_each_other(self):
        self.assertTrue(answers(self.lab, "client", "10.77.0.2"))
        self.assertTrue(answers(self.lab, "client", "10.77.0.3"))
        self.assertTrue(answers(self.lab, "a", "10.78.0.2"))
        self.assertFalse(answers(self.lab, "client", "10.78.0.1"))

    def test_cut_logging_is_silent_and_leaves_the_guests_network(self):
        self.lab.cut("logging")
        self.assertFalse(answers(self.lab, "a", "10.78.0.2"))
        self.assertTrue(answers(self.lab, "client", "10.77.0.2"))
        self.lab.restore("logging")
        self.assertTrue(answers(self.lab, "a", "10.78.0.2"))

    def test_cut_heartbeats_stops_udp_alone(self):
        self.lab.start("b", "udp", "/usr/bin/python3", "-c", UDP_ECHO)
        end = time.monotonic() + 10
        while not udp_answers(self.lab):
            self.assertLess(time.monotonic(), end, "the UDP server has not come up")
        self.lab.cut("heartbeats")
        self.assertFalse(udp_answers(self.lab))
        self.assertTrue(answers(self.lab, "a", "10.78.0.2"))
        self.lab.restore("heartbeats")
        self.assertTrue(udp_answers(self.lab))
        self.lab.kill("udp")

    def test_slow_delays_the_logging_link_alone(self):
        def round_trip_ms(where, address):
            done = self.lab.run(where, "ping", "-c", "2", "-W", "5", address)
            return float(done.stdout.rsplit("time=", 1)[1].split()[0])

        self.lab.slow(150)
        self.assertGreaterEqual(round_trip_ms("a", "10.78.0.2"), 299)
        self.assertLess(round_trip_ms("client", "10.77.0.2"), 100)
        self.lab.slow(0)
        self.assertLess(round_trip_ms("a", "10.78.0.2"), 100)

    def test_cut_guest_link(self):
        self.lab.cut("guest-b")
        self.assertFalse(answers(self.lab, "client", "10.77.0.3"))
        self.assertTrue(answers(self.lab, "client", "10.77.0.2"))
        self.lab.restore("guest-b")
        end = time.monotonic() + 10
        while not answers(self.lab, "client", "10.77.0.3"):
            self.assertLess(time.monotonic(), end, "the link does not come back")

    def test_storage_goes_away_and_comes_back(self):
        shared = pathlib.Path(self.lab.folder) / "shared"
        (shared / "file").write_text("x")
        self.lab.cut("storage")
        self.assertFalse(shared.exists())
        self.lab.restore("storage")
        self.assertEqual((shared / "file").read_text(), "x")

    @unittest.skipUnless(os.path.exists("/dev/fuse"), "needs /dev/fuse")
    def test_a_cache_of_a_host_dies_with_it(self):
        disk = pathlib.Path(self.lab.folder) / "shared/disk"
        disk.write_bytes(bytes(4096))

        def write(text, *how):
            return self.lab.run("a", "sh", "-c", f"printf {text} | dd of={disk} conv=notrunc,sync bs=512 {' '.join(how)}")

        self.lab.cache("a", "disk")
        write("cached")
        self.assertEqual(self.lab.run("a", "head", "--bytes=6", disk).stdout, "cached")
        self.assertEqual(disk.read_bytes(), bytes(4096), "what isn't flushed is with host a alone")
        self.lab.lose_cache("a")
        self.assertEqual(disk.read_bytes(), bytes(4096))
        self.lab.cache("a", "disk")
        write("direct", "oflag=direct")
        write("cached")
        self.lab.run("a", "sync", disk)
        write("flushed", "seek=1", "oflag=sync")
        self.lab.lose_cache("a")
        self.assertEqual(disk.read_bytes()[:6] + disk.read_bytes()[512:519], b"cachedflushed")

    def test_a_killed_job_is_gone_and_others_are_not(self):
        self.lab.start("a", "one", "sleep", "1000")
        self.lab.start("b", "two", "sleep", "1000")
        self.lab.kill("one")
        with self.assertRaises(RuntimeError):
            self.lab.kill("one")
        self.lab.kill("two", "STOP")
        self.lab.kill("two", "CONT")
        self.lab.kill("two", "TERM")

    def test_pinned_places_keep_to_their_processors(self):
        allowed = ["grep", "Cpus_allowed_list", "/proc/self/status"]
        everywhere = self.lab.run("a", *allowed).stdout
        self.lab.pin("a", "0")
        self.assertEqual(self.lab.run("a", *allowed).stdout.split(), ["Cpus_allowed_list:", "0"])
        self.assertEqual(self.lab.run("b", *allowed).stdout, everywhere)
        with self.assertRaisesRegex(RuntimeError, "no processors"):
            self.lab.pin("a", "4711")

    def test_down_leaves_nothing(self):
        with Lab("labtest2") as second:
            second.start("a", "sleeper", "sleep", "1000")
            folder = pathlib.Path(second.folder)
            pid = int((folder / "sleeper.pid").read_text().split()[0])
        self.assertFalse(folder.exists())
        state = pathlib.Path(f"/proc/{pid}/stat")
        self.assertTrue(not state.exists() or ") Z " in state.read_text())
        spaces = subprocess.run(["ip", "netns"], stdout=subprocess.PIPE, text=True).stdout
        self.assertNotIn("labtest2-", spaces)


if __name__ == "__main__":
    unittest.main()
