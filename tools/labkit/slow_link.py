#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Carries what goes from one host of a laboratory to the other on the logging link, and takes its time for it:
a TUN device in each host's namespace, with a route to the other's address. The kernel needs no netem. When this
process ends, the devices and routes are gone, and the link is as before.

    slow_link.py LAB MILLISECONDS
"""

import collections
import ctypes
import fcntl
import os
import pathlib
import select
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from labkit.lab import LOGGING_ADDRESS  # noqa: E402

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
DEVICE = "slow0"
PACKET = 1 << 16


def enter(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}", "rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {namespace}")


def make_device(lab, host):
    enter(f"{lab}-{host}")
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", "dev", DEVICE, "up"], check=True)
    return device


def add_route(lab, host, peer):
    enter(f"{lab}-{host}")
    to, source = LOGGING_ADDRESS[peer], LOGGING_ADDRESS[host]
    subprocess.run(["ip", "route", "add", f"{to}/32", "dev", DEVICE, "src", source], check=True)


def carry(devices, delay_s):
    """Each packet leaves at the other end `delay_s` after it came, in order."""
    ways = dict(zip(devices, reversed(devices)))
    under_way = collections.deque()
    while True:
        timeout = max(0, under_way[0][0] - time.monotonic()) if under_way else None
        for device in select.select(devices, [], [], timeout)[0]:
            under_way.append((time.monotonic() + delay_s, ways[device], os.read(device, PACKET)))
        while under_way and under_way[0][0] <= time.monotonic():
            _, device, packet = under_way.popleft()
            os.write(device, packet)


def main():
    lab, delay_ms = sys.argv[1], int(sys.argv[2])
    devices = [make_device(lab, host) for host in "ab"]
    add_route(lab, "a", "b")
    add_route(lab, "b", "a")
    carry(devices, delay_ms / 1000)


if __name__ == "__main__":
    main()
