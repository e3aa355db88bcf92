# SPDX-License-Identifier: Apache-2.0
"""Talks to a guest's serial console, whoever emulates the guest.

A console is a pair of file descriptors (the same one twice for a pseudo-terminal or a socket). Everything that
the guest prints is kept in `transcript`, and copied to `copy_to` if given.
"""

import os
import re
import select
import time

LOGIN_PROMPT = re.compile(rb"login: ?$")
SHELL_PROMPT = re.compile(rb"root@[^ ]*# ?$")
ESCAPE_SEQUENCE = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")


class ConsoleError(Exception):
    """The guest did not print what was waited for."""


class GuestConsole:
    def __init__(self, read_fd, write_fd, copy_to=None):
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.copy_to = copy_to
        self.transcript = b""
        self.unread = b""

    def wait_for(self, pattern, timeout):
        """Returns what the guest printed up to the end of the match of the regular expression `pattern`."""
        end = time.monotonic() + timeout
        while True:
            match = re.compile(pattern).search(self.unread)
            if match:
                seen = self.unread[: match.end()]
                self.unread = self.unread[match.end() :]
                return seen
            left = end - time.monotonic()
            if left <= 0 or not self._read(left):
                why = "in time" if left <= 0.01 or time.monotonic() >= end else "before the console closed"
                tail = self.transcript[-400:].decode(errors="replace")
                raise ConsoleError(f"the guest did not print {pattern!r} {why}; the last it printed: {tail}")

    def _read(self, timeout):
        """Reads what is there, waiting at most `timeout` seconds for it; false at the console's end."""
        ready, _, _ = select.select([self.read_fd], [], [], timeout)
        if not ready:
            return True
        try:
            data = os.read(self.read_fd, 65536)
        except OSError:
            data = b""
        if not data:
            return False
        if self.copy_to:
            self.copy_to.write(data)
            self.copy_to.flush()
        data = ESCAPE_SEQUENCE.sub(b"", data).replace(b"\r", b"")
        self.transcript += data
        self.unread += data
        return True

    def send(self, text):
        os.write(self.write_fd, text.encode())

    def login(self, timeout, password="lockstep"):
        """From the login prompt to a shell of root."""
        self.send("root\r")
        self.wait_for(rb"Password: ?$", timeout)
        self.send(password + "\r")
        self.wait_for(SHELL_PROMPT, timeout)

    def run(self, command, timeout):
        """Runs a command in the shell; returns its output as text and its exit status."""
        self.send(command + "; echo \"exit=\"$?=\r")
        output = self.wait_for(rb"exit=\d+=\n", timeout)
        self.wait_for(SHELL_PROMPT, timeout)
        text = output.decode(errors="replace")
        status = int(re.search(r"exit=(\d+)=\n$", text).group(1))
        lines = text.split("\n")
        return "\n".join(lines[1:-2] if len(lines) > 2 else []).strip(), status
