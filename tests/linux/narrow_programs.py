#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""32-bit programs under the guest's 64-bit kernel: programs/narrow.c, linked statically and against the shared libraries of
the 32-bit ABI. They print what they print on this host; recorded from power-on to power-off, and replayed to equal hashes.

    narrow_programs.py [--lockstep PROGRAM] [--keep FOLDER]
"""

import argparse
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit.pair import guest_image  # noqa: E402
from recording import BareRecording, WorkFolder, last_icount, replay  # noqa: E402

SOURCE = pathlib.Path(__file__).parent / "programs/narrow.c"
LIBRARIES = ["ld-linux.so.2", "libc.so.6", "libm.so.6"]
TIMEOUT = 300
REPLAYS = [[], ["--block-limit", "1"], ["--code-cache", "8 MiB", "--no-chaining", "--disturb"], ["--window-after", "0"]]


def build(folder):
    """The program in two forms and its libraries, as an archive in a disk's size; what it prints here."""
    root = folder / "root"
    (root / "lib32").mkdir(parents=True)
    compile_ = ["gcc", "-m32", "-no-pie", "-O2", "-pthread", "-Wall", "-Wextra", "-Werror", SOURCE, "-lm", "-o"]
    subprocess.run([*compile_, root / "static", "-static"], check=True)
    subprocess.run([*compile_, root / "shared", "-Wl,--dynamic-linker,/root/lib32/ld-linux.so.2",
                    "-Wl,-rpath,/root/lib32"], check=True)  # fmt: skip
    for library in LIBRARIES:
        subprocess.run(["cp", "-L", f"/lib32/{library}", root / "lib32"], check=True)
    expected = subprocess.run([root / "static"], check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout
    disk = folder / "programs.raw"
    subprocess.run(["tar", "-C", root, "-cf", disk, "."], check=True)
    subprocess.run(["truncate", "-s", "%1M", disk], check=True)
    return disk, expected


class NarrowRecording(BareRecording):
    """With the archive of programs as a second disk."""

    def __init__(self, lockstep, folder, disk):
        super().__init__(lockstep, folder, guest_image(), "512 MiB", 500)
        with self.config.open("a") as config:
            config.write(f'[[disk]]\npath = "{disk}"\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lockstep", default=TOP / "build/release/apps/lockstep/lockstep")
    parser.add_argument("--keep", type=pathlib.Path, help="work in this folder")
    arguments = parser.parse_args()
    with WorkFolder(arguments.keep) as folder:
        disk, expected = build(folder)
        with NarrowRecording(arguments.lockstep, folder, disk) as guest:
            guest.must("mount -t devtmpfs none /dev; mount -t proc none /proc; mount -o remount,rw /; "
                       "echo 1 >/proc/sys/kernel/printk; tar -C /root -xf /dev/vdb")  # fmt: skip
            for form in ("static", "shared"):
                output = guest.must(f"/root/{form}", TIMEOUT)
                if output.split() != expected.split():
                    raise RuntimeError(f"the {form} program prints, in the guest:\n{output}\non this host:\n{expected}")
                print(f"the {form} program prints what it prints on this host", flush=True)
        last = last_icount(arguments.lockstep, guest.log)
        stops = [last * part // 11 for part in (5, 7, 9, 10)]
        finals = {replay(arguments.lockstep, guest.log, options, stops) for options in REPLAYS}
        if len(finals) != 1:
            raise RuntimeError(f"the replays end in different states: {finals}")
    print(f"{len(REPLAYS)} replays, all equal")


if __name__ == "__main__":
    main()
