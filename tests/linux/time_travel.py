#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From a kernel's panic back to who caused it, with stock gdb and the kernel's symbols.

    time_travel.py [--seconds N] [--lockstep PROGRAM] [--keep FOLDER]

A stock guest is recorded. Somebody in it sets a word of the kernel (panic_on_oops), and works on for N seconds; then a fault in
the kernel ends in a panic, since that word is set. gdb goes to the panic, watches the word and lets the guest go back: it must
stand before the instruction that wrote it, which is one of the kernel's for sysctl. How long each took is printed beside its bound.
"""

import argparse
import base64
import gzip
import pathlib
import re
import signal
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit.pair import guest_image  # noqa: E402
from recording import Recording, WorkFolder  # noqa: E402

MOST_BACK_S = 60
WORK = "ls -lR /etc /usr/share/doc | md5sum; /opt/bench/fib 22; dd if=/dev/zero of=/root/z bs=64k count=20 2>/dev/null; sync"


class PanickingGuest(Recording):
    """One whose log ends shortly after its kernel has panicked."""

    def _power_off(self):
        self.console.send("echo c > /proc/sysrq-trigger\r")
        self.console.wait_for(rb"end Kernel panic", 120)
        self.processes[0].send_signal(signal.SIGINT)
        if self.processes[0].wait(timeout=120) != 0:
            raise RuntimeError(self._messages())


def record(lockstep, folder, seconds):
    with PanickingGuest(lockstep, folder, guest_image(), "512 MiB", 1000) as guest:
        guest.must("stty -echo; sysctl -w kernel.kptr_restrict=0")
        text = guest.must("grep -v '\\[' /proc/kallsyms | gzip -9 | base64 -w 200", 300)
        (folder / "kallsyms.txt").write_bytes(gzip.decompress(base64.b64decode("".join(text.split()))))
        guest.must("sysctl -w kernel.panic_on_oops=1")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            guest.must(WORK, 300)
    return guest.log


SCRIPT = """
import gdb, time

def timed(command, name):
    start = time.monotonic()
    text = gdb.execute(command, to_string=True)
    print(f"TIME {name} {time.monotonic() - start:.1f}", flush=True)
    return text

def say(name, expression):
    print(f"VALUE {name} {int(gdb.parse_and_eval(expression))}", flush=True)

gdb.execute("set remotetimeout 300")
gdb.execute("target remote | %(debug)s")
gdb.execute("break *(long)&panic")
timed("continue", "forward")
say("panic", "$icount")
say("word", "*(int *) &panic_on_oops")
gdb.execute("delete")
gdb.execute("watch *(int *) &panic_on_oops")
timed("reverse-continue", "back")
say("write", "$icount")
say("before", "*(int *) &panic_on_oops")
print("WRITER " + gdb.execute("info symbol $pc", to_string=True), flush=True)
gdb.execute("delete")
gdb.execute("stepi")
say("after", "*(int *) &panic_on_oops")
timed("reverse-stepi", "step")
say("again", "*(int *) &panic_on_oops")
gdb.execute("kill")
"""


def look(lockstep, folder, log):
    symbols = folder / "kernel.elf"
    subprocess.run([TOP / "tools" / "kallsyms_to_elf", folder / "kallsyms.txt", symbols], check=True)
    script = folder / "script.py"
    script.write_text(SCRIPT % {"debug": f"{lockstep} debug {log}"})
    done = subprocess.run(["gdb", "-nx", "-batch", "-ex", "set pagination off", "-ex", "set confirm off", "-x", script, symbols],
                          text=True, capture_output=True, timeout=3000)  # fmt: skip
    text = done.stdout + done.stderr
    values = {name: int(value) for name, value in re.findall(r"^VALUE (\w+) (-?\d+)$", text, re.MULTILINE)}
    times = {name: float(value) for name, value in re.findall(r"^TIME (\w+) ([\d.]+)$", text, re.MULTILINE)}
    writer = re.search(r"^WRITER (.*)$", text, re.MULTILINE)
    return values, times, writer.group(1) if writer else "", text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lockstep", type=pathlib.Path, default=TOP / "build/release/apps/lockstep/lockstep")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--log", type=pathlib.Path, help="look at this kept recording, whose kallsyms.txt lies beside it")
    arguments = parser.parse_args()
    with WorkFolder(arguments.keep) as folder:
        log = arguments.log or record(arguments.lockstep, folder, arguments.seconds)
        values, times, writer, text = look(arguments.lockstep, log.parent, log)
        print(f"values {values}\nwritten in {writer}\nseconds {times}, bound of back {MOST_BACK_S}", flush=True)
        wanted = {"word": 1, "before": 0, "after": 1, "again": 0}
        wrong = {name: value for name, value in wanted.items() if values.get(name) != value}
        if wrong or values["write"] >= values["panic"] or not re.search("dointvec|douintvec", writer):
            raise RuntimeError(f"gdb has found something else than wanted ({wrong}):\n{text}")
        if times["back"] > MOST_BACK_S:
            raise RuntimeError(f"going back took {times['back']} s, and {MOST_BACK_S} are the most")


if __name__ == "__main__":
    main()
