#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A guest that firmware starts from its own disk (tools/build_uefi_disk): Debian's OVMF, GRUB, the kernel by its EFI stub.
It has booted by UEFI, keeps a variable of the firmware across a reboot, and its ACPI tables are the machine's own.
Recorded from power-on to power-off, and replayed to equal hashes.

    uefi.py [--lockstep PROGRAM] [--keep FOLDER]
"""

import argparse
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit.pair import guest_image  # noqa: E402
from recording import Recording, WorkFolder, last_icount, replay  # noqa: E402

BOOT_TIMEOUT = 900
REPLAYS = [[], ["--block-limit", "3", "--code-cache", "16 MiB", "--disturb"]]
VARIABLE = "/sys/firmware/efi/efivars/LockstepTest-4c4f434b-5354-4550-0000-000000000004"


class UefiRecording(Recording):
    """Of a guest that firmware starts."""

    def __init__(self, lockstep, folder):
        super().__init__(lockstep, folder, guest_image(), "512 MiB", 1000)
        self.disk.unlink()
        subprocess.run([TOP / "tools/build_uefi_disk", guest_image(), self.disk], check=True)

    def _configuration(self, image):
        return f'[vm]\nname = "recorded"\nmemory = "{self.memory}"\n[[disk]]\npath = "{self.disk}"\n'

    def _log_in(self):
        self.console.wait_for_login(BOOT_TIMEOUT)
        self.console.login(300)

    def reboot(self):
        self.console.send("systemctl reboot\r")
        self._log_in()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lockstep", default=TOP / "build/release/apps/lockstep/lockstep")
    parser.add_argument("--keep", type=pathlib.Path, help="work in this folder")
    arguments = parser.parse_args()
    with WorkFolder(arguments.keep) as folder:
        with UefiRecording(arguments.lockstep, folder) as guest:
            guest.must("test -d /sys/firmware/efi && mount -t efivarfs none /sys/firmware/efi/efivars || mountpoint -q "
                       "/sys/firmware/efi/efivars")  # fmt: skip
            guest.must("dmesg | grep -q 'LOCKST LOCKSTEP'")
            guest.must(f"printf '\\007\\000\\000\\000kept' >{VARIABLE}")
            guest.reboot()
            guest.must("mountpoint -q /sys/firmware/efi/efivars || mount -t efivarfs none /sys/firmware/efi/efivars")
            guest.must(f"grep -q kept {VARIABLE}")
            print("the guest has booted by UEFI, and a variable has outlived a reboot", flush=True)
        last = last_icount(arguments.lockstep, guest.log)
        finals = {replay(arguments.lockstep, guest.log, options, [last // 50, last // 3]) for options in REPLAYS}
        if len(finals) != 1:
            raise RuntimeError(f"the replays end in different states: {finals}")
    print(f"{len(REPLAYS)} replays, all equal")


if __name__ == "__main__":
    main()
