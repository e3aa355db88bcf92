#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Does what docs/manual.md says, command by command, on the two hosts of a laboratory, with a stock guest.

    manual_test.py PROGRAM      PROGRAM: lockstep

Paths and addresses of the manual are replaced by the laboratory's, and systemctl by the daemon itself: namespaces have no systemd of
their own here. Needs root. Where the guest image isn't made yet, that takes some minutes.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit.lab import LOGGING_ADDRESS, Lab  # noqa: E402

BLOCK = re.compile(r"<!-- (.+?) -->\n```\w*\n(.*?)```", re.DOTALL)
PATIENCE_S = 300
USER = "nobody"


class Manual:
    def __init__(self, program, lab):
        self.lab = lab
        self.root = pathlib.Path(lab.folder) / "manual"
        self.binaries = self.root / "bin"
        self.binaries.mkdir(parents=True)
        (self.binaries / "lockstep").symlink_to(program)
        self.shared = self.root / "shared"
        self.shared.mkdir()
        for host in "ab":
            for folder in ("etc/lockstep/vms", "run"):
                (self.root / host / folder).mkdir(parents=True)
        self.token = ""
        for folder in (self.root, *self.root.parents):
            if folder.stat().st_mode & 0o001 == 0:
                folder.chmod(folder.stat().st_mode | 0o011)  # VM processes are somebody else

    def here(self, host, text):
        """What the manual says, as it is in the laboratory."""
        text = text.replace("/shared", str(self.shared)).replace("/etc/lockstep", str(self.root / host / "etc/lockstep"))
        for number, side in ((1, "a"), (2, "b")):
            text = text.replace(f"10.1.0.{number}", LOGGING_ADDRESS[side])
        # The package's user isn't on this machine.
        text = text.replace("chown lockstep", f"chown {USER}").replace("[host]", f'[host]\nuser = "{USER}"')
        return text.replace("TOKEN", self.token)

    def environment(self, host):
        return {
            "PATH": f"{self.binaries}:{os.environ['PATH']}",
            "LOCKSTEP_CONFIG": self.root / host / "etc/lockstep",
            "LOCKSTEP_RUNTIME": self.root / host / "run",
        }

    def run(self, host, command):
        if command.startswith("systemctl"):
            assert "--now lockstep" in command, command
            words = [f"{name}={value}" for name, value in self.environment(host).items()]
            self.lab.start(host, f"daemon-{host}", "env", *words, "lockstep", "serve")
            return self.wait_until(f"the daemon of {host} serves", lambda: (self.root / host / "run/.daemon").exists())
        done = self.try_to_run(host, command)
        assert done.returncode == 0, f"host-{host}$ {command}\n{done.stdout}{done.stderr}"
        if command.startswith("lockstep cluster token"):
            self.token = done.stdout.strip()

    def try_to_run(self, host, command):
        print(f"host-{host}$ {command}", flush=True)
        words = [f"{name}={value}" for name, value in self.environment(host).items()]
        return self.lab.run(host, "env", *words, "sh", "-c", self.here(host, command), timeout=PATIENCE_S)

    def quietly(self, host, command):
        words = [f"{name}={value}" for name, value in self.environment(host).items()]
        return self.lab.run(host, "env", *words, "sh", "-c", command, timeout=60).stdout

    def wait_until(self, what, true_now):
        end = time.monotonic() + PATIENCE_S
        while not true_now():
            assert time.monotonic() < end, f"waited {PATIENCE_S} s in vain: {what}\n{self.logs()}"
            time.sleep(0.5)

    def is_protected(self, host, command):
        lines = self.quietly(host, command + " --json").splitlines()
        status = json.loads(lines[0]) if lines else {}
        # Landlock is missing in some kernels; what else a process shall give up it can.
        confined = status.get("confined", "yes")
        assert confined in ("yes", "not yet: the VM is starting") or "Landlock" in confined, confined
        return status.get("protected", False)

    def is_off(self, host, command):
        return any(json.loads(line)["state"] == "off" for line in self.quietly(host, command + " --json").splitlines())

    def logs(self):
        files = [*self.root.glob("*/run/*.log"), *pathlib.Path(self.lab.folder).glob("*.log")]
        lists = [self.quietly(host, "lockstep list; lockstep status") for host in "ab"]
        return "\n".join([*lists, *(f"--- {file}\n{file.read_text()}" for file in files)])

    def do(self, mark, content):
        where, _, until = mark.partition(": ")
        if where == "by hand":
            return
        if where == "file":
            host, path = until.split()
            host = host.removeprefix("host-")
            path = pathlib.Path(self.here(host, path))
            print(f"host-{host}: {path.name}", flush=True)
            path.write_text(self.here(host, content))
            return
        host = where.removeprefix("host-")
        for command in content.strip().splitlines():
            if until == "without an answer":
                self.try_to_run(host, command)
            elif until:
                is_so = {"until protected": self.is_protected, "until off": self.is_off}[until]
                print(f"host-{host}$ {command}    ({until})", flush=True)
                self.wait_until(f"{command}: {until}", lambda: is_so(host, command))
            else:
                self.run(host, command)

    def end(self):
        for host in "ab":
            self.quietly(host, "lockstep poweroff web")


def provide_guest(shared):
    image = subprocess.run([TOP / "tools/build_guest_image"], stdout=subprocess.PIPE, text=True, check=True)
    folder = pathlib.Path(image.stdout.splitlines()[-1])
    for name in ("vmlinuz", "initrd"):
        shutil.copy(folder / name, shared / name)
    subprocess.run(["cp", "--sparse=always", folder / "disk.raw", shared / "web.raw"], check=True)


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    blocks = BLOCK.findall((TOP / "docs/manual.md").read_text())
    assert len(blocks) > 15, "the manual has lost its marks"
    with Lab("manual") as lab:
        manual = Manual(program, lab)
        provide_guest(manual.shared)
        try:
            for mark, content in blocks:
                manual.do(mark, content)
        finally:
            manual.end()
    print("all that the manual says works")


main()
