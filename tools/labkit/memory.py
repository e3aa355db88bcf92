# SPDX-License-Identifier: Apache-2.0
"""The memory of VMs' processes."""

import pathlib
import re


def resident_kb(pid):
    """(the guest's memory, all else) of a VM's process, in KiB."""
    guest = rest = 0
    is_guest = False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if head := re.match(r"[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ \S+\s*(.*)", line):
            is_guest = head[2].endswith("(deleted)")  # the file in memory
        elif line.startswith("Rss:"):
            kilobytes = int(line.split()[1])
            guest, rest = (guest + kilobytes, rest) if is_guest else (guest, rest + kilobytes)
    return guest, rest
