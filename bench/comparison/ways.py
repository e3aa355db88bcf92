# SPDX-License-Identifier: Apache-2.0
"""The ways to run the guest's programs. Each has a console with a shell of root, and an address in the laboratory.

    host a of the laboratory: Lockstep, and the programs that run natively      host b: QEMU; the pair's backup

All have the same disk image (a copy each), one CPU, and the same path through the laboratory's switch to the clients,
which are the image's own programs, run natively in the client's namespace.
"""

import contextlib
import os
import pathlib
import pty
import shutil
import subprocess
import tempfile
import time

from labkit.console import SHELL_PROMPT, ConsoleError, GuestConsole
from labkit.lab import GUEST_ADDRESS
from labkit.pair import Pair, Vm, other

from . import TOP

BOOT_TIMEOUT = 300
PROTECT_TIMEOUT = 120
BACKUP_PAUSE = 3  # seconds, in which an idle new backup takes memory from its host
QEMU_ADDRESS = "10.77.0.11"
HOST_A_ADDRESS = "10.77.0.2"
NATIVE_CPU = "1"
NEIGHBOUR = Vm("neighbour", "10.77.0.12", "tap1", "52:54:00:12:34:58", "neighbour.raw")
PROTECTED = Vm("protected", "10.77.0.13", "tap2", "52:54:00:12:34:59", "protected.raw")


def benchmark_image():
    """The folder of the benchmarks' image, which is made if it has not been."""
    done = subprocess.run([TOP / "bench/build_image"], check=True, stdout=subprocess.PIPE, text=True)
    return pathlib.Path(done.stdout.strip())


def copy_disk(image, target):
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", image / "disk.raw", target], check=True)


class Root:
    """A copy of the image's disk, mounted in a mount namespace of its own, where programs of the image run natively.
    All that ran there ends, and the mount goes, when the process that holds the namespace ends, which it does with
    this one."""

    SCRIPT = """
set -e
mount -o loop "$1" "$2"
mount -t proc proc "$2/proc"
mount -t tmpfs tmpfs "$2/run"
mount -t tmpfs tmpfs "$2/dev/shm"
exec chroot "$2" sleep infinity
"""

    def __init__(self, lab, image):
        self.lab = lab
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lockstep-bench."))
        mount_point = self.folder / "root"
        mount_point.mkdir()
        copy_disk(image, self.folder / "disk.raw")
        self.holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child",
             "sh", "-c", self.SCRIPT, "sh", self.folder / "disk.raw", mount_point],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self.pid = self._wait_for_holder(mount_point)

    def _wait_for_holder(self, mount_point):
        children = pathlib.Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children")
        end = time.monotonic() + 20
        while time.monotonic() < end and self.holder.poll() is None:
            for child in children.read_text().split():
                with contextlib.suppress(OSError):
                    if pathlib.Path(f"/proc/{child}/comm").read_text() == "sleep\n":
                        return child
            time.sleep(0.02)
        raise RuntimeError(f"the disk of the image could not be mounted at {mount_point}")

    def command(self, where, *command):
        """The command line that runs a program of the image in a namespace of the laboratory."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root"]
        environment = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "TERM=dumb"]
        return self.lab.command(where, *enter, *environment, *command)

    def client(self, *command, timeout):
        """Runs a client to its end; returns what it printed."""
        done = subprocess.run(
            self.command("client", *command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout
        )
        if done.returncode:
            raise ConsoleError(f"{command[0]} ended with status {done.returncode}: {done.stdout[-400:]}")
        return done.stdout

    def close(self):
        self.holder.kill()
        self.holder.wait()
        shutil.rmtree(self.folder)


class Native:
    """The programs on the bare CPU, on one of its cores."""

    name = "native"
    address = HOST_A_ADDRESS

    def __init__(self, root):
        self.root = root
        self.process = None

    @property
    def running(self):
        return self.process is not None

    def start(self):
        master, slave = pty.openpty()
        shell = ["PS1=root@native:~# ", "taskset", "-c", NATIVE_CPU, "bash", "--norc", "--noprofile", "-i"]
        self.process = subprocess.Popen(
            self.root.command("a", *shell), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.console = GuestConsole(master, master)
        self.console.wait_for(SHELL_PROMPT, 30)

    def cpu_seconds(self):
        """The workloads themselves say what they took."""
        return 0

    def meter(self):
        return None

    def stop(self):
        if self.process:
            end(self.process)
            os.close(self.console.read_fd)
            self.process = None


class Qemu:
    """The guest under QEMU's software emulation."""

    name = "qemu"
    address = QEMU_ADDRESS

    def __init__(self, lab, image, memory_mib):
        self.lab = lab
        self.image = image
        self.memory_mib = memory_mib
        self.disk = pathlib.Path(lab.folder) / "qemu.raw"
        self.process = None

    @property
    def running(self):
        return self.process is not None

    def start(self):
        """Boots; returns the seconds from QEMU's start to the login prompt."""
        copy_disk(self.image, self.disk)
        bridge = "ip tuntap add qemu0 mode tap vnet_hdr; ip link set qemu0 master br0 up"
        self.lab.run("b", "sh", "-c", "test -e /sys/class/net/qemu0 || { " + bridge + "; }")
        start = time.monotonic()
        self.process = subprocess.Popen(
            self.lab.command("b", *self._command_line()), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.console = GuestConsole(self.process.stdout.fileno(), self.process.stdin.fileno())
        return boot(self.console, start)

    def _command_line(self):
        address = f"ip={QEMU_ADDRESS}::10.77.0.1:255.255.255.0:guest:eth0:off"
        return [
            "qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "1", "-m", self.memory_mib,
            "-machine", "q35", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
            "-kernel", f"{self.image}/vmlinuz", "-initrd", f"{self.image}/initrd",
            "-append", f"root=/dev/vda rw console=ttyS0 net.ifnames=0 {address}",
            "-drive", f"file={self.disk},format=raw,if=virtio,cache=writeback",
            "-device", "virtio-rng-pci",
            "-netdev", "tap,id=net0,ifname=qemu0,script=no,downscript=no",
            "-device", "virtio-net-pci,netdev=net0,mac=52:54:00:12:34:57",
        ]  # fmt: skip

    def cpu_seconds(self):
        return cpu_seconds_of(self.process.pid)

    def meter(self):
        return None

    def stop(self):
        if self.process:
            end(self.process)
            self.process = None


class BenchmarkPair(Pair):
    """A pair with the benchmarks' image; its disk can be made anew."""

    def __init__(self, lab, image, memory_mib, vm):
        self.lab = lab
        self.vm = vm
        self.shared = pathlib.Path(lab.folder) / "shared"
        self.config = pathlib.Path(lab.folder) / f"{vm.name}.toml"
        self.image = image
        self.initrd = image / "initrd"
        self.config.write_text(self._configuration(f"{memory_mib} MiB"))
        self._prepare_hosts()

    def renew(self):
        """The disk and what the arbiter has of this VM as before the first start."""
        copy_disk(self.image, self.shared / self.vm.disk)
        arbiter = self.shared / "arbiter"
        arbiter.mkdir(exist_ok=True)
        for term in arbiter.glob(f"{self.vm.name}.term-*"):
            term.unlink()


class Lockstep:
    """The guest under Lockstep, on one host."""

    name = "lockstep"
    host = "a"

    def __init__(self, lab, image, memory_mib, vm=Pair.vm):
        self.pair = BenchmarkPair(lab, image, memory_mib, vm)
        self.lab = lab
        self.address = vm.address
        self.carrier = None  # of the console

    @property
    def running(self):
        return self.carrier is not None

    def start(self):
        """Boots; returns the seconds from the start of the VM's process to the login prompt."""
        self.pair.renew()
        self._start_daemon(self.host)
        start = time.monotonic()
        self.pair.start_vm(self.host)
        self.pair.lockstep(self.host, "unprotect", self.pair.vm.name)  # a backup comes when it is asked for
        self.console, self.carrier = self.pair.console(self.host)
        return boot(self.console, start)

    def _start_daemon(self, host):
        if not (pathlib.Path(self.lab.folder) / f"daemon-{host}.pid").exists():
            self.pair.start_daemon(host)
            time.sleep(0.5)

    def cpu_seconds(self):
        """Of the live side alone."""
        return cpu_seconds_of(self.pair.process(self.host))

    def meter(self):
        """The log's state now, to be compared with a later one."""
        return self.pair.status(self.host)

    def stop(self):
        if self.carrier:
            end(self.carrier)
            self.carrier = None
            self.pair.end_processes()
            time.sleep(1)


class Protected(Lockstep):
    """Another VM, which has a backup on the other host all the time."""

    name = "pair"

    def __init__(self, lab, image, memory_mib):
        super().__init__(lab, image, memory_mib, PROTECTED)

    def start(self):
        seconds = super().start()
        backup_host = other(self.host)
        self._start_daemon(backup_host)
        self.pair.protect(self.host, backup_host)
        self.pair.wait_protected(self.host, PROTECT_TIMEOUT)
        time.sleep(BACKUP_PAUSE)
        return seconds

    def check(self):
        state = self.pair.status(self.host)
        if not state or not state["protected"]:
            raise RuntimeError(f"the pair fell apart: {state and state['why']}")


class Neighbour(Lockstep):
    """Another VM, on host b and alone, that does the same work over and over while the first is measured: what the
    two lose by the memory and the caches that they share, they would lose as a pair as well."""

    name = "neighbour"
    host = "b"
    FLAG = "/run/neighbour-works"

    def __init__(self, lab, image, memory_mib):
        super().__init__(lab, image, memory_mib, NEIGHBOUR)

    @contextlib.contextmanager
    def working(self, command, timeout):
        """Runs the guest's `command` time after time until the end of the context."""
        if not self.running:
            self.start()
        loop = f"while test -e {self.FLAG}; do {command} >/dev/null 2>&1 || exit; done"
        self.console.run(f"touch {self.FLAG}; ({loop}) & true", timeout)
        try:
            yield
        finally:
            _, status = self.console.run(f"rm {self.FLAG}; wait $!", timeout)
        if status:
            raise ConsoleError(f"the neighbour's {command} failed")


def cpu_seconds_of(pid):
    """What a process has had of the processors, all its threads, in seconds."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def end(process):
    process.kill()
    process.wait()


def boot(console, start):
    """Waits for the login prompt and logs in; returns the seconds from `start` to the prompt."""
    console.wait_for_login(BOOT_TIMEOUT)
    seconds = time.monotonic() - start
    console.login(60)
    # Nothing may come between the lines of a workload: no sequences of the line editor, no kernel messages.
    console.run("bind 'set enable-bracketed-paste off'; dmesg -n 1", 60)
    return seconds
