# SPDX-License-Identifier: Apache-2.0
"""The guest image under QEMU's software emulation (TCG), for comparison."""

import subprocess

from .console import GuestConsole

ADDRESS = "net.ifnames=0 ip=10.0.2.15::10.0.2.2:255.255.255.0:guest:eth0:off"


def command_line(image, memory_mib, append):
    """The command that starts QEMU with the guest's serial port on its standard input and output. One CPU, and
    the disk isn't changed."""
    return [
        "qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "1", "-m", str(memory_mib),
        "-machine", "q35", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-snapshot",
        "-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd",
        "-append", f"root=/dev/vda rw console=ttyS0 {ADDRESS} {append}",
        "-drive", f"file={image}/disk.raw,format=raw,if=virtio", "-device", "virtio-rng-pci",
        "-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0",
    ]  # fmt: skip


class QemuGuest:
    """A running guest; as a context manager it ends with the block."""

    def __init__(self, image, memory_mib=512, append="", copy_to=None):
        self.process = subprocess.Popen(
            command_line(image, memory_mib, append), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.console = GuestConsole(self.process.stdout.fileno(), self.process.stdin.fileno(), copy_to)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
