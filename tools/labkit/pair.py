# SPDX-License-Identifier: Apache-2.0
"""A guest protected by a pair of hosts of the laboratory. Every command line of Lockstep that the demo and the
tests use is here."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

from . import BUILD, TOP
from .console import GuestConsole
from .lab import GUEST_ADDRESS, LOGGING_ADDRESS

LOCKSTEP = BUILD / "apps/lockstep/lockstep"
DAEMON_PORT = 7700
# Of tests, for which a machine that is slow, or does other things, is no failure.
PATIENT = "heartbeat_ms = 100\nfailure_ms = 800\n"
VM_NAME = "guest"


@dataclasses.dataclass(frozen=True)
class Vm:
    """What tells one VM of a laboratory from another."""

    name: str = VM_NAME
    address: str = GUEST_ADDRESS
    tap: str = "tap0"
    mac: str = "52:54:00:12:34:56"
    disk: str = "disk.raw"


SECOND_VM = Vm("guest2", "10.77.0.11", "tap1", "52:54:00:12:34:57", "disk2.raw")


def other(host):
    return "b" if host == "a" else "a"


def guest_image():
    """The folder of the guest image, which is made if it has not been."""
    done = subprocess.run([TOP / "tools/build_guest_image"], check=True, stdout=subprocess.PIPE, text=True)
    return pathlib.Path(done.stdout.strip())


def small_initrd():
    """An initial RAM disk for guests of little memory, which is made if it has not been."""
    done = subprocess.run([TOP / "tools/build_small_initrd"], check=True, stdout=subprocess.PIPE, text=True)
    return pathlib.Path(done.stdout.strip())


class Pair:
    """One VM and its two hosts. Several may share a laboratory; its daemons are started once, by any of them."""

    vm = Vm()
    insecure = False

    def __init__(self, lab, memory="512 MiB", vm=vm, initrd=None, protection="", insecure=False):
        """`initrd`: in place of the image's own. `protection`: further lines of that section of the configuration; tests
        give PATIENT.
        `insecure`: links in the clear."""
        self.lab = lab
        self.insecure = insecure
        self.vm = vm
        self.shared = pathlib.Path(lab.folder) / "shared"
        self.config = pathlib.Path(lab.folder) / f"{vm.name}.toml"
        self.image = guest_image()
        self.initrd = initrd or self.image / "initrd"
        disk = self.shared / vm.disk
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", self.image / "disk.raw", disk], check=True)
        (self.shared / "arbiter").mkdir(exist_ok=True)
        self.config.write_text(self._configuration(memory) + protection)
        self._prepare_hosts()

    def _configuration(self, memory):
        hosts = ", ".join(f'"{address}:{DAEMON_PORT}"' for address in LOGGING_ADDRESS.values())
        address = f"{self.vm.address}::10.77.0.1:255.255.255.0:{self.vm.name}:eth0:off"
        return f"""\
[vm]
name = "{self.vm.name}"
kernel = "{self.image}/vmlinuz"
initrd = "{self.initrd}"
command_line = "root=/dev/vda rw console=ttyS0 net.ifnames=0 ip={address}"
memory = "{memory}"

[[disk]]
path = "{self.shared}/{self.vm.disk}"
shared = true

[[network]]
tap = "{self.vm.tap}"
bridge = "br0"
mac = "{self.vm.mac}"

[protection]
hosts = [{hosts}]
arbiter = "{self.shared}/arbiter"
"""

    def _prepare_hosts(self):
        self._allow()
        if not self.insecure and not (self.config_folder("a") / "cluster").exists():
            self._make_cluster()

    def _allow(self):
        """What the hosts let each other's VMs name: all that is of the laboratory."""
        for host in LOGGING_ADDRESS:
            folder = self.config_folder(host)
            folder.mkdir(exist_ok=True)
            (folder / "host.toml").write_text(
                f'[host]\nrecordings = "{self.shared}"\n[allow]\nfolders = ["{self.shared}", "{self.image}", "{self.initrd.parent}"]\nbridges = ["br0"]\ntaps = ["tap*"]\n'
            )

    def _make_cluster(self):
        """Makes the hosts members of one cluster, as an operator does."""
        self.lockstep("a", "cluster", "init", "--name", "host-a", "--address", f"{LOGGING_ADDRESS['a']}:{DAEMON_PORT}")
        self.start_daemon("a")
        token = self.lockstep("a", "cluster", "token", "host-b").strip()
        self.lockstep("b", "cluster", "join", token)
        self.lab.kill("daemon-a")

    # The command lines -------------------------------------------------------------------------------------

    def runtime(self, host):
        """The folder of a host's sockets; each "host" has its own, as if it were another machine."""
        return pathlib.Path(self.lab.folder) / f"run-{host}"

    def config_folder(self, host):
        return pathlib.Path(self.lab.folder) / f"config-{host}"

    def program(self, host):
        """The beginning of each command line: the program, with what tells the "hosts" of one machine apart."""
        environment = [f"LOCKSTEP_RUNTIME={self.runtime(host)}", f"LOCKSTEP_CONFIG={self.config_folder(host)}"]
        if self.insecure:
            environment.append("LOCKSTEP_INSECURE=1")
        return ["env", *environment, LOCKSTEP]

    def lockstep(self, host, *arguments, timeout=60):
        """Runs `lockstep ...` on a host and returns what it printed; raises with its sentence if it failed."""
        done = self.lab.run(host, *self.program(host), *arguments, timeout=timeout)
        if done.returncode:
            raise RuntimeError(f"lockstep {' '.join(map(str, arguments))} on {host}: {done.stderr.strip()}")
        return done.stdout

    def start_daemon(self, host):
        self.runtime(host).mkdir(exist_ok=True)
        listen = f"{LOGGING_ADDRESS[host]}:{DAEMON_PORT}"
        self.lab.start(host, f"daemon-{host}", *self.program(host), "serve", "--listen", listen)

    def start_daemons(self):
        for host in LOGGING_ADDRESS:
            self.start_daemon(host)
        time.sleep(0.5)

    def start_vm(self, host):
        self.lockstep(host, "run", "--background", self.config, timeout=120)

    def status(self, host):
        """The VM's state on a host as `lockstep status --json` gives it; None where the host runs no side of it.
        Added to it: now_s and, where the VM is live, live_since_s (both of the steady clock)."""
        try:
            state = json.loads(self.lockstep(host, "status", self.vm.name, "--json"))
        except (RuntimeError, subprocess.TimeoutExpired):
            return None
        state["now_s"] = time.monotonic()
        if state["live_ms"]:
            state["live_since_s"] = state["now_s"] - state["live_ms"] / 1000
        return state

    def protect(self, host, backup_host):
        self.lockstep(host, "protect", self.vm.name, f"{LOGGING_ADDRESS[backup_host]}:{DAEMON_PORT}")

    def power_off(self, host):
        self.lockstep(host, "poweroff", self.vm.name)

    def console(self, host):
        """A GuestConsole on the serial console of the VM that runs on `host`, and the process that carries it."""
        command = self.lab.command(host, *self.program(host), "console", self.vm.name)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        return GuestConsole(process.stdout.fileno(), process.stdin.fileno()), process

    # What the demo and the tests do with them --------------------------------------------------------------

    def wait_for_guest(self, timeout):
        """Waits until the guest's services answer; returns the seconds that took."""
        start = time.monotonic()
        while time.monotonic() - start < timeout:
            done = self.lab.run("client", "timeout", "3", "redis-cli", "-h", self.vm.address, "ping", timeout=30)
            if done.stdout.strip() == "PONG":
                return time.monotonic() - start
            time.sleep(0.5)
        raise RuntimeError(f"the guest does not answer after {timeout} s")

    def wait_protected(self, host, timeout):
        """Waits until the VM that is live on `host` is protected; returns the seconds that took."""
        start = time.monotonic()
        status = None
        while time.monotonic() - start < timeout:
            status = self.status(host)
            if status and status["protected"]:
                return time.monotonic() - start
            time.sleep(0.05)
        raise RuntimeError(f"the VM on {host} is not protected after {timeout} s; its state: {status}")

    def wait_live(self, host, timeout):
        """Waits until `host` is the live side; returns the time (steady clock, s) at which that was seen."""
        start = time.monotonic()
        while time.monotonic() - start < timeout:
            status = self.status(host)
            # In its first millisecond it says 0 for how long it has been live.
            if status and status["role"] in ("solo", "primary") and "live_since_s" in status:
                return status["live_since_s"]
            time.sleep(0.01)
        raise RuntimeError(f"the backup on {host} did not go live within {timeout} s")

    def process(self, host):
        """The VM's process on a host; None where there is none."""
        try:
            pid = int((self.runtime(host) / self.vm.name / "pid").read_text())
            os.kill(pid, 0)
            return pid
        except (OSError, ValueError):
            return None

    def wait_ended(self, timeout):
        """Waits until neither host has a process of the VM."""
        end = time.monotonic() + timeout
        while any(self.process(host) for host in LOGGING_ADDRESS):
            if time.monotonic() > end:
                raise RuntimeError(f"the VM has not ended within {timeout} s")
            time.sleep(0.1)

    def kill_vm(self, host, what=signal.SIGKILL):
        """Kills the VM's process on a host, as a power cut would; returns the time (steady clock, s)."""
        pid = int((self.runtime(host) / self.vm.name / "pid").read_text())
        now = time.monotonic()
        os.kill(pid, what)
        return now

    def kill_host(self, host):
        """The power of a host with a cache of its own is cut; returns the time (steady clock, s)."""
        now = self.kill_vm(host)
        self.lab.kill(f"daemon-{host}")
        self.lab.lose_cache(host)
        return now

    def divergences(self):
        """How often a side has found that the two differ, by the logs of all processes."""
        logs = pathlib.Path(self.lab.folder).rglob("*.log")
        return sum(log.read_text(errors="replace").count("has diverged") for log in logs)

    def end_processes(self):
        """Ends the VM's processes on both hosts that are still there."""
        for host in LOGGING_ADDRESS:
            with contextlib.suppress(OSError, ValueError):
                self.kill_vm(host)

    def keep_logs(self, folder):
        """Copies what the processes on the hosts have written to `folder`."""
        for log in pathlib.Path(self.lab.folder).rglob("*.log"):
            shutil.copy(log, folder)
