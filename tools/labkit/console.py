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
COVERED_PROMPT = re.compile(rb"login: ?\S")
ASK_AGAIN_S = 2
SHELL_PROMPT = re.compile(rb"root@[^ ]*# ?$")
ESCAPE_SEQUENCE = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")


class ConsoleError(Exception):
    """The guest did not print what was waited for."""


class ConsoleClosed(ConsoleError):
    """Nobody holds the other end of the console any more."""


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
            if left <= 0:
                raise ConsoleError(self._missed(pattern, "in time"))
            if not self._read(left):
                raise ConsoleClosed(self._missed(pattern, "before the console closed"))

    def _missed(self, pattern, when):
        tail = self.transcript[-400:].decode(errors="replace")
        return f"the guest did not print {pattern!r} {when}; the last it printed: {tail}"

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

    def wait_for_login(self, timeout):
        """Waits for the login prompt, and asks for another where the kernel has printed a line behind it."""
        end = time.monotonic() + timeout
        while True:
            try:
                return self.wait_for(LOGIN_PROMPT, min(ASK_AGAIN_S, end - time.monotonic()))
            except ConsoleClosed:
                raise
            except ConsoleError:
                if time.monotonic() >= end:
                    raise
            if COVERED_PROMPT.search(self.unread):
                self.unread = b""
                self.send("\r")

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
