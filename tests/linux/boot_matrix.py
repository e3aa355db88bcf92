#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Boots the stock kernel with its own switches for hardware that is odd, or that it distrusts: each boot is recorded up to
a shell, and replayed in one configuration of the engine. All state hashes must be equal, and the switch must have done
what it is for.

    boot_matrix.py [--only SWITCHES,...] [--seed S] [--lockstep PROGRAM] [--keep FOLDER]
    boot_matrix.py --list

The seed draws the configuration of each replay.
"""

import argparse
import pathlib
import random
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit.console import ConsoleError  # noqa: E402
from labkit.pair import guest_image  # noqa: E402
from record_replay import MORE_REPLAYS  # noqa: E402
from recording import VM_NAME, BareRecording, WorkFolder, last_icount, replay  # noqa: E402

LINE_IN_LOG = "dmesg | grep -q '{}'"
INTERRUPT = "grep -qE '^ *{}' /proc/interrupts"
CLOCK_SOURCE = "grep -q {} /sys/devices/system/clocksource/clocksource0/current_clocksource"
TICKS_FROM = "grep -q 'Clock Event Device: {}' /proc/timer_list"
# PCI devices have interrupt lines there, and no messages.
LINES_TO_8259 = INTERRUPT.format("1[01]:.*XT-PIC.*virtio")

# The switches, and what is true in the guest then: a command that ends with 0.
MATRIX = {
    "quiet": "true",
    "pti=on": LINE_IN_LOG.format("page tables isolation: enabled"),
    "pti=on nopcid": LINE_IN_LOG.format("page tables isolation: enabled") + " && ! grep -qw pcid /proc/cpuinfo",
    "nopcid": "! grep -qw pcid /proc/cpuinfo",
    "clearcpuid=smap": "! grep -qw smap /proc/cpuinfo",
    "clearcpuid=smep": "! grep -qw smep /proc/cpuinfo",
    "nokaslr": "grep -q '^ffffffff81000000 T _text' /proc/kallsyms",
    "nox2apic": "! grep -q x2apic_phys /proc/interrupts",
    "noapic": INTERRUPT.format("4:.*XT-PIC.*ttyS0"),
    "noapic pci=nomsi": LINES_TO_8259,
    "nolapic": LINES_TO_8259,
    "acpi=off": "[ ! -e /sys/firmware/acpi ] && " + LINES_TO_8259,
    "pci=nomsi": INTERRUPT.format("1[6-9]:.*IO-APIC.*virtio"),
    "nolapic_timer": TICKS_FROM.format("hpet"),
    "nolapic_timer lapic=notscdeadline hpet=disable": TICKS_FROM.format("pit"),
    "lapic=notscdeadline": TICKS_FROM.format("lapic$"),
    "hpet=disable": "! " + CLOCK_SOURCE.replace("current", "available").format("hpet"),
    "tsc=unstable": "! " + CLOCK_SOURCE.format("tsc"),
    "tsc=reliable": CLOCK_SOURCE.format("tsc"),
    "clocksource=hpet": CLOCK_SOURCE.format("hpet"),
    "clocksource=acpi_pm": CLOCK_SOURCE.format("acpi_pm"),
    "nr_cpus=1": "grep -qx 0 /sys/devices/system/cpu/possible",
    "mitigations=off": "grep -q Vulnerable /sys/devices/system/cpu/vulnerabilities/spectre_v2",
    "mitigations=auto": "true",
    "nohz=off highres=off": "! grep -q 'hres_active *: 1' /proc/timer_list",
    "idle=poll": LINE_IN_LOG.format("using polling idle threads"),
    "hugepages=16": "grep -q 'HugePages_Total: *16' /proc/meminfo",
    "init_on_alloc=1 init_on_free=1 slub_debug=FZP": "true",
}


class SwitchedBoot(BareRecording):
    """It is switched off from outside: not every kernel of the matrix can do it by itself."""

    def __init__(self, lockstep, folder, switches):
        # The shell that stands for init is handed what the kernel itself doesn't know, such as nokaslr, which its
        # decompressor reads. After -s it takes that for parameters, not for a script.
        self.kernel_arguments = f"{BareRecording.kernel_arguments} -s {switches}"
        super().__init__(lockstep, folder, guest_image(), "512 MiB", 200)

    def _power_off(self):
        subprocess.run([self.lockstep, "poweroff", VM_NAME], env=self.environment, check=True)
        status = self.processes[0].wait(timeout=60)
        if status != 0:
            raise RuntimeError(f"lockstep record ended with {status}: {self._messages()}")


def check(switches, arguments, folder):
    """One boot and its replay; raises where something isn't as it must be."""
    draw = random.Random(f"{arguments.seed} {switches}")
    start = time.monotonic()
    with SwitchedBoot(arguments.lockstep, folder, switches) as recording:
        booted_s = time.monotonic() - start
        for command in ("mount -t proc proc /proc 2>/dev/null; echo 3 >/proc/sys/kernel/printk", MATRIX[switches]):
            output, status = recording.console.run(command, 60)
        if status != 0:
            raise RuntimeError(f"in the guest, {command!r} ended with {status}: {output}")
        # Processes, their memory and a pipe.
        output, status = recording.console.run("for i in 1 2 3 4 5; do ls -lR /etc | md5sum; done | uniq | wc -l", 120)
        if status != 0 or output.strip() != "1":
            raise RuntimeError(f"the same files gave different sums: {output}")
    instructions = last_icount(arguments.lockstep, recording.log)
    print(f"{switches}: booted in {booted_s:.0f} s, {instructions} instructions in all", flush=True)
    replay(arguments.lockstep, recording.log, draw.choice([[], *MORE_REPLAYS[1:]]), [instructions // 2])


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), help="switches of these boots, as --list shows them")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--lockstep", type=pathlib.Path, default=TOP / "build/release/apps/lockstep/lockstep")
    parser.add_argument("--keep", type=pathlib.Path, help="work in this folder")
    parser.add_argument("--list", action="store_true", help="list the boots")
    arguments = parser.parse_args()
    for wrong in set(arguments.only or []) - set(MATRIX):
        parser.error(f"there is no boot '{wrong}'; --list shows them")
    return arguments


def main():
    arguments = parse_arguments()
    if arguments.list:
        print(*MATRIX, sep="\n")
        return 0
    failed = []
    for number, switches in enumerate(arguments.only or MATRIX):
        try:
            with WorkFolder(arguments.keep and arguments.keep / f"boot-{number}") as folder:
                check(switches, arguments, folder)
        except (ConsoleError, RuntimeError) as error:
            print(f"FAILED: {switches}: {error}\n"
                  f"to repeat: {sys.argv[0]} --seed {arguments.seed} --only '{switches}'", flush=True)  # fmt: skip
            failed.append(switches)
    print(f"{len(arguments.only or MATRIX)} boots, " + (f"NOT GOOD: {', '.join(failed)}" if failed else "all good"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
