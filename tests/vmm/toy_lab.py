# SPDX-License-Identifier: Apache-2.0
"""Toy machines on the hosts of a laboratory, for tests of a guest's network. Needs root, for the laboratory."""

import json
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from labkit.lab import LOGGING_ADDRESS, Lab  # noqa: E402

PROGRAM = sys.argv.pop(1)
CONFIG = """
[vm]
name = "toy"
kernel = "/dev/null"
memory = "64 MiB"
command_line = "{command_line}"
[[network]]
tap = "toy0"
mac = "{mac}"
bridge = "br0"
[protection]
hosts = ["10.78.0.1:7700", "10.78.0.2:7700"]
arbiter = "arbiter"
heartbeat_ms = 100
failure_ms = 800
{protection}
"""


class ToyLabTest(unittest.TestCase):
    NAME = "toylab"
    """Of the laboratory; each test has its own."""

    def setUp(self):
        self.lab = Lab(self.NAME)
        self.lab.__enter__()
        self.addCleanup(self.lab.__exit__)
        self.shared = pathlib.Path(self.lab.folder) / "shared"
        (self.shared / "arbiter").mkdir()
        for host, address in LOGGING_ADDRESS.items():
            (self.shared / host).mkdir()
            (self.shared / host / "host.toml").write_text(
                f'[allow]\nfolders = ["{self.shared}", "/dev/null"]\nbridges = ["br0"]\ntaps = ["toy0"]\n'
            )
            self.start(host, f"daemon-{host}", "serve", "--listen", f"{address}:7700")

    def start(self, host, job, *arguments):
        folder = self.shared / host
        self.lab.start(host, job, "env", f"LOCKSTEP_CONFIG={folder}", "LOCKSTEP_INSECURE=1", PROGRAM, *arguments, "--runtime", folder)

    def status(self, host):
        done = self.lab.run(host, PROGRAM, "status", "toy", "--json", "--runtime", self.shared / host)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def logs(self):
        return "".join(f"\n--- {log.name}\n{log.read_text()}" for log in pathlib.Path(self.lab.folder).glob("*.log"))

    def wait_for(self, what, found, seconds=30):
        end = time.monotonic() + seconds
        while not found():
            self.assertLess(time.monotonic(), end, f"{what}: a: {self.status('a')}, b: {self.status('b')}{self.logs()}")
            time.sleep(0.1)

    def hand_over(self):
        done = self.lab.run("a", PROGRAM, "failover", "toy", "--runtime", self.shared / "a")
        self.assertEqual(done.returncode, 0, done.stderr)

    def protect(self, mac, command_line="toy", protection=""):
        config = self.shared / "toy.toml"
        config.write_text(CONFIG.format(mac=mac, command_line=command_line, protection=protection))
        self.start("a", "vm", "run", config)
        self.wait_for("protected", lambda: self.status("a").get("protected"))
