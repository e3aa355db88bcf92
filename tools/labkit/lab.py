# SPDX-License-Identifier: Apache-2.0
"""The network laboratory, as tools/lab makes it."""

import subprocess

from . import TOP

LAB = TOP / "tools/lab"
GUEST_ADDRESS = "10.77.0.10"
LOGGING_ADDRESS = {"a": "10.78.0.1", "b": "10.78.0.2"}


class Lab:
    """A laboratory of a name. As a context manager it is made on entry and removed on exit."""

    def __init__(self, name="lab"):
        self.name = name

    def __enter__(self):
        self._lab("up")
        return self

    def __exit__(self, *_):
        self._lab("down")

    @property
    def folder(self):
        return self._lab("folder").strip()

    def command(self, where, *command):
        """The command line that runs `command` in namespace `where` ("a", "b", "client" or "switch")."""
        return [str(LAB), "--name", self.name, "exec", where, *map(str, command)]

    def run(self, where, *command, timeout=60):
        """Runs a command in a namespace to its end: a CompletedProcess with its output as text."""
        return subprocess.run(
            self.command(where, *command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout
        )

    def start(self, where, job, *command):
        """Starts a job in the background; its output goes to <folder>/<job>.log."""
        self._lab("start", where, job, *map(str, command))

    def pin(self, where, cpus):
        """What is run or started there from now on keeps to these processors."""
        self._lab("pin", where, cpus)

    def kill(self, job, signal="KILL"):
        self._lab("kill", job, signal)

    def cut(self, what):
        self._lab("cut", what)

    def restore(self, what):
        self._lab("restore", what)

    def cache(self, host, file):
        """What is started on `host` from now on reaches shared/`file` through a cache of that host."""
        self._lab("cache", host, file)

    def lose_cache(self, host):
        """The host's memory is lost, and what was written and not flushed with it."""
        self._lab("lose-cache", host)

    def slow(self, delay_ms):
        """What goes from one host to the other on the logging link takes so long, each way; 0: as before."""
        self._lab("slow", str(delay_ms))

    def _lab(self, *arguments):
        done = subprocess.run(
            [LAB, "--name", self.name, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise RuntimeError(f"tools/lab {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout
