# SPDX-License-Identifier: Apache-2.0
"""Tables and running commentary for the terminal, kept in a log file too."""

import time


class Journal:
    """Prints lines with the time since the start, and keeps them in a file."""

    def __init__(self, path):
        self.path = path
        self.file = open(path, "w")
        self.start = time.monotonic()

    def say(self, text):
        self.line(f"[{time.monotonic() - self.start:7.1f} s] {text}")

    def line(self, text=""):
        print(text, flush=True)
        self.file.write(text + "\n")
        self.file.flush()

    def table(self, title, rows):
        """Rows of (name, value), aligned."""
        width = max(len(name) for name, _ in rows)
        self.line(f"\n{title}\n{'-' * len(title)}")
        for name, value in rows:
            self.line(f"{name:<{width}}  {value}")


def percentile(values, share):
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, int(len(ordered) * share + 0.5) - 1))]


def distribution(values, unit="ms"):
    """Median, 90th percentile and largest of some values as text."""
    if not values:
        return "no values"
    return (
        f"median {percentile(values, 0.5):.0f} {unit}, 90 % below {percentile(values, 0.9):.0f} {unit},"
        f" longest {max(values):.0f} {unit} ({len(values)} values)"
    )
