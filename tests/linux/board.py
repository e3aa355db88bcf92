#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The board as a stock guest meets it: its clock, alarms, what is pasted into its console, and drivers that are bound
anew while their devices work. Recorded from power-on, through a reset, to power-off, and replayed to equal hashes.

    board.py [--only CHECKS,...] [--seed S] [--lockstep PROGRAM] [--keep FOLDER]
"""

import argparse
import hashlib
import os
import pathlib
import random
import string
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit.console import SHELL_PROMPT, ConsoleError  # noqa: E402
from labkit.pair import guest_image  # noqa: E402
from record_replay import MORE_REPLAYS  # noqa: E402
from recording import BOOT_TIMEOUT, BareRecording, WorkFolder, last_icount, replay  # noqa: E402

PASTED_BYTES = 1 << 20
SECOND_DISK_BYTES = 16 << 20
TAP = f"lsboard{os.getpid() % 100000}"
HOST_ADDRESS, GUEST_ADDRESS = "10.79.0.1", "10.79.0.2"
BINDINGS = 20
# Linux's hwrng core, until it was mended in 2026, keeps the thread of a driver that is unbound before that thread has ever
# run, and hangs or panics at the next time, on any machine.
PAUSE_S = 0.05


class BoardRecording(BareRecording):
    """With a second disk, and a network that leads to this host alone."""

    def __init__(self, lockstep, folder):
        super().__init__(lockstep, folder, guest_image(), "512 MiB", 200)
        self.second_disk = folder / "second.raw"
        self.second_disk.write_bytes(random.Random(1).randbytes(SECOND_DISK_BYTES))
        with self.config.open("a") as config:
            config.write(f'[[disk]]\npath = "{self.second_disk}"\n'
                         f'[[network]]\ntap = "{TAP}"\nmac = "52:54:00:77:00:01"\n')  # fmt: skip

    def _boot(self):
        super()._boot()
        self.make_ready()
        for command in (f"ip addr add {HOST_ADDRESS}/30 dev {TAP}", f"ip link set {TAP} up"):
            subprocess.run(command.split(), check=True)

    def make_ready(self):
        for folder, kind in (("proc", "proc"), ("sys", "sysfs"), ("dev", "devtmpfs")):
            self.console.run(f"mountpoint -q /{folder} || mount -t {kind} none /{folder}", 60)
        self.console.run("echo 3 >/proc/sys/kernel/printk; mount -o remount,rw /", 60)
        self.must("modprobe -a virtio_rng virtio_net")

    def must(self, command, timeout=60):
        """Runs a command that must end with 0; returns its output."""
        output, status = self.console.run(command, timeout)
        if status != 0:
            raise RuntimeError(f"in the guest, {command!r} ended with {status}: {output}")
        return output


def check_clock_start(guest, _):
    before = time.time()
    shown = float(guest.must("date +%s.%N"))
    offset = shown - (before + time.time()) / 2
    print(f"the guest's clock differs from the host's by {offset:.3f} s", flush=True)
    if abs(offset) >= 1:
        raise RuntimeError(f"the guest's clock differs from the host's by {offset:.3f} s")


def check_pasted(guest, draw):
    text = "".join(draw.choices(string.ascii_letters, k=PASTED_BYTES))
    console = guest.console
    console.send(f"stty raw -echo crtscts; echo rea''dy; head -c {PASTED_BYTES} | md5sum; stty sane -crtscts\r")
    console.wait_for(rb"ready\n", 60)
    start = time.monotonic()
    rest = text.encode()
    while rest:
        rest = rest[os.write(console.write_fd, rest) :]
    found = console.wait_for(rb"[0-9a-f]{32}  -", 120).split()[-2].decode()
    console.wait_for(SHELL_PROMPT, 60)
    print(f"{PASTED_BYTES} bytes pasted in {time.monotonic() - start:.1f} s", flush=True)
    if found != hashlib.md5(text.encode()).hexdigest():
        raise RuntimeError("what arrived in the guest isn't what was pasted")


def check_clock_over_reset(guest, _):
    guest.must("date -s '2031-02-03 04:05:06' && hwclock -w")
    guest.console.send("sync; reboot -f\r")
    guest.console.wait_for(SHELL_PROMPT, BOOT_TIMEOUT)
    guest.console.run("export PATH HOME=/root TERM=dumb", 60)
    guest.make_ready()
    for command in ("hwclock -r", "date '+%F %T'"):
        shown = guest.must(command)
        if not shown.startswith("2031-02-03 04:0"):
            raise RuntimeError(f"after a reset, {command!r} says {shown}")


def check_alarm(guest, _):
    """An alarm ends suspend-to-idle, when it is due."""
    start = time.monotonic()
    guest.must("rtcwake -m freeze -s 3")
    slept_s = time.monotonic() - start
    print(f"slept for {slept_s:.1f} s", flush=True)
    guest.must("dmesg | grep -q 'PM: suspend exit'")
    if not 1.5 < slept_s < 15:
        raise RuntimeError(f"an alarm 3 s from now came after {slept_s:.1f} s")


def bind_anew(guest, driver, device, proof):
    """Unbinds and binds the driver many times while `device` works; `proof` must be true each time."""
    folder = f"/sys/bus/virtio/drivers/{driver}"
    guest.must(f"V={device}; cd {folder} && [ -e $V ]")
    guest.must(
        f"for i in $(seq {BINDINGS}); do echo $V >unbind && echo $V >bind && sleep {PAUSE_S} && {proof} || break; done; "
        f"[ $i = {BINDINGS} ] && {proof}; R=$?; cd /; (exit $R)", 200)  # fmt: skip


def check_entropy_bound_anew(guest, _):
    proof = "[ $(timeout 5 dd if=/dev/hwrng bs=64 count=1 iflag=fullblock 2>/dev/null | wc -c) = 64 ]"
    bind_anew(guest, "virtio_rng", "$(basename $(ls -d /sys/bus/virtio/drivers/virtio_rng/virtio*))", proof)
    guest.must("(while [ ! -e /stop ]; do dd if=/dev/hwrng of=/dev/null bs=4096 count=9 || sleep 0.01; done) "
               ">/dev/null 2>&1 & true")  # fmt: skip
    bind_anew(guest, "virtio_rng", "$(basename $(ls -d /sys/bus/virtio/drivers/virtio_rng/virtio*))", proof)
    guest.must("touch /stop; wait; rm /stop")


def check_network_bound_anew(guest, _):
    proof = (f"ip addr replace {GUEST_ADDRESS}/30 dev eth0 && ip link set eth0 up && "
             f"ping -q -c 1 -W 5 {HOST_ADDRESS} >/dev/null")  # fmt: skip
    flood = subprocess.Popen(["ping", "-q", "-f", "-s", "1000", GUEST_ADDRESS], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        bind_anew(guest, "virtio_net", "$(basename $(readlink -f /sys/class/net/eth0/device))", proof)
    finally:
        flood.kill()
        flood.wait()


def check_disk_bound_anew(guest, _):
    digest = hashlib.md5(guest.second_disk.read_bytes()).hexdigest()
    proof = f"dd if=/dev/vdb bs=1M iflag=direct 2>/dev/null | md5sum | grep -q {digest}"
    guest.must("(while [ ! -e /stop ]; do dd if=/dev/vdb of=/dev/null bs=64k iflag=direct || sleep 0.01; done) "
               ">/dev/null 2>&1 & true")  # fmt: skip
    bind_anew(guest, "virtio_blk", "$(basename $(readlink -f /sys/block/vdb/device))", proof)
    guest.must("touch /stop; wait; rm /stop")


CHECKS = {
    "clock": check_clock_start,
    "paste": check_pasted,
    "alarm": check_alarm,
    "reset": check_clock_over_reset,
    "entropy": check_entropy_bound_anew,
    "network": check_network_bound_anew,
    "disk": check_disk_bound_anew,
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(CHECKS), help=",".join(CHECKS))
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--lockstep", type=pathlib.Path, default=TOP / "build/release/apps/lockstep/lockstep")
    parser.add_argument("--keep", type=pathlib.Path, help="work in this folder")
    arguments = parser.parse_args()
    for wrong in set(arguments.only) - set(CHECKS):
        parser.error(f"there is no check '{wrong}'; there are {', '.join(CHECKS)}")
    return arguments


def main():
    arguments = parse_arguments()
    draw = random.Random(arguments.seed)
    try:
        with WorkFolder(arguments.keep) as folder:
            with BoardRecording(arguments.lockstep, folder) as guest:
                for name in arguments.only:
                    start = time.monotonic()
                    CHECKS[name](guest, draw)
                    print(f"{name}: good ({time.monotonic() - start:.0f} s)", flush=True)
            instructions = last_icount(arguments.lockstep, guest.log)
            replay(arguments.lockstep, guest.log, [], [])
            replay(arguments.lockstep, guest.log, draw.choice(MORE_REPLAYS[1:]), [draw.randrange(instructions)])
    except (ConsoleError, RuntimeError) as error:
        print(f"FAILED: {error}\nto repeat: {sys.argv[0]} --seed {arguments.seed} --only {','.join(arguments.only)}")
        return 1
    print("all good")
    return 0


if __name__ == "__main__":
    sys.exit(main())
