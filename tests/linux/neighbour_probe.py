#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks a neighbour for its address, 50 times a second, and prints the moment of each answer (steady clock, s).

    neighbour_probe.py DEVICE VLAN OWN_ADDRESS ADDRESS MAC

The question goes to MAC alone and not to everybody, so it arrives only where the switches know where MAC is. VLAN is 0 for
none: tags are written by hand, since the kernel of the machine may know no VLANs.
"""

import socket
import struct
import sys
import time

ARP, TAG, ALL_PROTOCOLS = 0x0806, 0x8100, 3
PERIOD_S = 0.02


def main():
    device, vlan, own_address, address, mac = sys.argv[1:]
    target, own = socket.inet_aton(address), socket.inet_aton(own_address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS)) as wire:
        wire.bind((device, 0))
        wire.settimeout(PERIOD_S)
        own_mac = wire.getsockname()[4]
        tag = struct.pack("!HH", TAG, int(vlan)) if int(vlan) else b""
        request = struct.pack("!HHHBBH", ARP, 1, 0x0800, 6, 4, 1) + own_mac + own + bytes(6) + target
        frame = bytes.fromhex(mac.replace(":", "")) + own_mac + tag + request
        next_s = time.monotonic()
        while True:
            if time.monotonic() >= next_s:
                wire.send(frame)
                next_s += PERIOD_S
            try:
                received = wire.recv(2048)
            except TimeoutError:
                continue
            kind = received[16:] if received[12:14] == struct.pack("!H", TAG) else received[12:]
            if kind[:10] == struct.pack("!HHHBBH", ARP, 1, 0x0800, 6, 4, 2) and kind[16:20] == target:
                print(time.monotonic(), flush=True)


if __name__ == "__main__":
    main()
