# SPDX-License-Identifier: Apache-2.0
"""A host with a toy VM and its API, and a client of it; in a folder of its own. Ports are those that the system chooses."""

import http.client
import json
import os
import pathlib
import re
import ssl
import subprocess
import tempfile
import time
import unittest

CONFIG = """
[vm]
name = "toy"
kernel = "/dev/null"
memory = "64 MiB"
command_line = "toy"
{more}
"""


class ApiLab(unittest.TestCase):
    PROGRAM = ""
    INSECURE = True
    """Of the API: no certificates, everybody is an admin."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="lockstep-api-")
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.runtime = self.folder / "run"
        (self.folder / "host.toml").write_text('[host]\nconfine = false\n')
        self.environment = {**os.environ, "LOCKSTEP_CONFIG": str(self.folder), "LOCKSTEP_RUNTIME": str(self.runtime)}
        self.environment.pop("LOCKSTEP_INSECURE", None)
        (self.folder / "host.toml").write_text(f'[host]\nrecordings = "{self.folder}"\n')

    def run_command(self, *arguments):
        return subprocess.run([self.PROGRAM, *map(str, arguments)], capture_output=True, text=True, env=self.environment)

    def start(self, name, *arguments):
        """A process that is ended with the test; what it says is in the file NAME.log."""
        log = self.folder / f"{name}.log"
        with log.open("w") as output:
            process = subprocess.Popen([self.PROGRAM, *map(str, arguments)], stdout=output, stderr=output, env=self.environment)
        self.addCleanup(lambda: (process.kill(), process.wait()))
        return process

    def wait_for(self, what, found, seconds=60):
        end = time.monotonic() + seconds
        while not (result := found()):
            logs = "".join(f"\n--- {log.name}\n{log.read_text()}" for log in self.folder.glob("*.log"))
            self.assertLess(time.monotonic(), end, f"{what}{logs}")
            time.sleep(0.05)
        return result

    def start_vm(self, more=""):
        config = self.folder / "toy.toml"
        config.write_text(CONFIG.format(more=more))
        process = self.start("vm", "run", config, "--insecure")
        self.wait_for("the VM runs", lambda: "Solo" in self.run_command("status", "toy").stdout)
        return process

    def start_api(self, *more):
        arguments = ["--insecure"] if self.INSECURE else []
        return self.find_api(self.start("api", "api", "--listen", "127.0.0.1:0", *arguments, *more))

    def find_api(self, process):
        log = self.folder / "api.log"
        said = self.wait_for("the API listens", lambda: re.search(r"the API is at https?://127.0.0.1:(\d+)/", log.read_text()))
        self.port = int(said[1])
        return process

    def connect(self, person=None, timeout=60):
        if self.INSECURE:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        context = ssl.create_default_context(cafile=str(self.folder / "cluster/authority.crt"))
        context.check_hostname = False  # the certificate is of the host's name, and this goes to an address
        if person:
            context.load_cert_chain(self.folder / f"{person}.pem")
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=context)

    def ask(self, method, path, body=None, person=None, headers=None):
        """The status, and the object in the answer."""
        connection = self.connect(person)
        self.addCleanup(connection.close)
        headers = {"Content-Type": "application/json", **(headers or {})}
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        self.assertTrue(text.endswith(b"\n"), text)
        content = json.loads(text)
        wanted = "application/json" if answer.status == 200 else "application/problem+json"
        self.assertEqual(answer.getheader("Content-Type"), wanted)
        if answer.status != 200:
            self.assertEqual(content["status"], answer.status)
        return answer.status, content
