# SPDX-License-Identifier: Apache-2.0
"""A guest under `lockstep record`, from power-on to its power-off, and the replays of its log."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from labkit.console import SHELL_PROMPT, GuestConsole
from labkit.lab import GUEST_ADDRESS

VM_NAME = "recorded"
BOOT_TIMEOUT = 300
POWER_OFF_TIMEOUT = 180


class Recording:
    """A VM of `image` that works on a copy of its disk. With a laboratory it runs on host a, behind its bridge.

    As a context manager it boots the guest and logs in on entry, and on exit, unless something went wrong, switches
    the guest off, which ends the log."""

    kernel_arguments = "root=/dev/vda rw console=ttyS0 net.ifnames=0"
    power_off_command = "systemctl poweroff"
    cpu = "x86-64-v2"

    def __init__(self, lockstep, folder, image, memory, hash_ms, lab=None):
        self.lockstep = lockstep
        self.folder = folder
        self.memory = memory
        self.hash_ms = hash_ms
        self.lab = lab
        self.log = folder / "guest.log"
        self.environment = {**os.environ, "LOCKSTEP_RUNTIME": str(folder / "run")}
        (folder / "run").mkdir(parents=True)
        self.disk = folder / "disk.raw"
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", image / "disk.raw", self.disk], check=True)
        self.config = folder / "vm.toml"
        self.config.write_text(self._configuration(image))
        self.console = None
        self.processes = []

    def _configuration(self, image):
        command_line = self.kernel_arguments
        network = ""
        if self.lab:
            command_line += f" ip={GUEST_ADDRESS}::10.77.0.1:255.255.255.0:guest:eth0:off"
            network = '[[network]]\ntap = "tap0"\nbridge = "br0"\nmac = "52:54:00:12:34:56"\n'
        return f"""[vm]
name = "{VM_NAME}"
kernel = "{image}/vmlinuz"
initrd = "{image}/initrd"
command_line = "{command_line}"
memory = "{self.memory}"
cpu = "{self.cpu}"
[[disk]]
path = "{self.disk}"
{network}"""

    def __enter__(self):
        try:
            self._boot()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self._power_off()
        finally:
            self._end()

    def _boot(self):
        command = [self.lockstep, "record", "--hash-ms", str(self.hash_ms), self.config, self.log]
        with open(self.folder / "record.log", "w") as messages:
            vm = self._start(self.lab.command("a", *command) if self.lab else command,
                             stdin=subprocess.DEVNULL, stdout=messages, stderr=messages)  # fmt: skip
        while subprocess.run([self.lockstep, "status", VM_NAME], env=self.environment, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL).returncode:  # fmt: skip
            if vm.poll() is not None:
                raise RuntimeError(self._messages())
            time.sleep(0.1)
        attached = self._start([self.lockstep, "console", VM_NAME], bufsize=0, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)  # fmt: skip
        self.console = GuestConsole(attached.stdout.fileno(), attached.stdin.fileno())
        self._log_in()

    def _log_in(self):
        self.console.wait_for_login(BOOT_TIMEOUT)
        self.console.login(120)

    def must(self, command, timeout=120):
        """What a command in the guest prints, which must end well."""
        output, status = self.console.run(command, timeout)
        if status != 0:
            raise RuntimeError(f"in the guest, {command!r} ended with {status}: {output}")
        return output

    def _power_off(self):
        self.console.send(self.power_off_command + "\r")
        status = self.processes[0].wait(timeout=POWER_OFF_TIMEOUT)
        if status != 0:
            raise RuntimeError(f"lockstep record ended with {status}: {self._messages()}")

    def _start(self, command, **streams):
        self.processes.append(subprocess.Popen(command, env=self.environment, **streams))
        return self.processes[-1]

    def _end(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self.disk.unlink()  # no replay needs it

    def _messages(self):
        return (self.folder / "record.log").read_text()


class BareRecording(Recording):
    """One whose guest starts a shell in place of its services: less than half the instructions, and no network."""

    kernel_arguments = Recording.kernel_arguments + " init=/bin/bash"
    power_off_command = "poweroff -f"

    def _log_in(self):
        self.console.wait_for(SHELL_PROMPT, BOOT_TIMEOUT)
        self.console.run("export PATH HOME=/root TERM=dumb", 60)


def last_icount(lockstep, log):
    """Of the log's last entry."""
    summary = subprocess.run([lockstep, "log", "summary", log], check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(re.search(r"icount \d+ to (\d+)", summary).group(1))


def replay(lockstep, log, arguments, stops):
    """Replays the log with stops at these icounts; returns the final state as text. Raises where it differed."""
    start = time.monotonic()
    at = [item for stop in stops for item in ("--stop-at", str(stop))]
    command = [str(lockstep), "replay", *arguments, *at, str(log)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = done.stdout.splitlines()
    print(f"replay {' '.join(arguments) or 'as recorded'} ({time.monotonic() - start:.0f} s):",
          *lines[-2 if done.returncode == 0 else 0 :], sep="\n    ", flush=True)  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"status {done.returncode} of {' '.join(command)}")
    return re.search(r"final state: .*", done.stdout).group(0)


class WorkFolder:
    """A folder for recordings, as a context manager: `keep` or one of its own. It stays where something went wrong,
    since no seed makes the same recording again."""

    def __init__(self, keep):
        self.path = keep or pathlib.Path(tempfile.mkdtemp(prefix="lockstep-replay-"))

    def __enter__(self):
        return self.path

    def __exit__(self, kind, *_):
        if kind is None:
            shutil.rmtree(self.path)
        else:
            print(f"the recording is kept in {self.path}", flush=True)
