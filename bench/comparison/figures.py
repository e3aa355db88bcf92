# SPDX-License-Identifier: Apache-2.0
"""What was measured: samples, kept in a JSON file, and what follows from them."""

import collections
import json
import pathlib
import statistics

from .workloads import WORKLOADS

SIDE_BY_SIDE = "side by side"  # native, QEMU and Lockstep in turn
BESIDE = "beside"  # a way: the VM alone, while a neighbour does the same work
PROTECTION = "protection"  # the VM alone and the pair in turn


class Figures:
    """Samples by phase, workload and way. A sample is a dict: count, seconds, cpu_seconds, checksum; for Lockstep instructions,
    log_bytes, log_seconds and lag_ms; or failure, a sentence."""

    def __init__(self, about, clock="seconds"):
        self.about = about
        self.clock = clock  # or "cpu_seconds": what the tables are made from
        self.samples = []
        self.checksums = {}

    def add(self, phase, way, name, measured):
        if measured.checksum and self.checksums.setdefault(name, measured.checksum) != measured.checksum:
            self.fail(phase, way, name, f"checksum {measured.checksum}, elsewhere {self.checksums[name]}")
            return
        sample = {"phase": phase, "way": way, "workload": name, "count": measured.count, "seconds": measured.seconds,
                  "cpu_seconds": measured.cpu_seconds, "checksum": measured.checksum}  # fmt: skip
        if measured.before and measured.after:
            sample["log_bytes"] = measured.after["log_bytes"] - measured.before["log_bytes"]
            sample["log_seconds"] = measured.after["now_s"] - measured.before["now_s"]
            sample["instructions"] = measured.after["icount"] - measured.before["icount"]
            sample["lag_ms"] = measured.after["lag_ms"]
        self.samples.append(sample)

    def fail(self, phase, way, name, sentence):
        self.samples.append({"phase": phase, "way": way, "workload": name, "failure": sentence})

    def failures(self):
        return [sample for sample in self.samples if "failure" in sample]

    def names(self, suite, phase=SIDE_BY_SIDE):
        """The workloads of a suite that were measured."""
        measured = {sample["workload"] for sample in self.samples if sample["phase"] == phase}
        return [name for name, workload in WORKLOADS.items() if workload.suite == suite and name in measured]

    def _good(self, phase, way, name):
        return [
            sample for sample in self.samples
            if (sample["phase"], sample["way"], sample["workload"]) == (phase, way, name) and sample.get(self.clock)
        ]  # fmt: skip

    def speed(self, way, name, phase=SIDE_BY_SIDE):
        """The median of the units of work done in a second; None if it was not measured."""
        speeds = [sample["count"] / sample[self.clock] for sample in self._good(phase, way, name)]
        return statistics.median(speeds) if speeds else None

    def seconds(self, way, name):
        samples = self._good(SIDE_BY_SIDE, way, name)
        return statistics.median(sample[self.clock] for sample in samples) if samples else None

    def faster(self, way, than, name, phase=SIDE_BY_SIDE):
        """How many times as fast `way` is as `than`; None where one was not measured."""
        one, other = self.speed(way, name, phase), self.speed(than, name, phase)
        return one / other if one and other else None

    def log(self, name):
        """Of the pair: Mbit/s of log, bytes of log for a unit of work, lag at the end in ms; medians."""
        rows = []
        for sample in self._good(PROTECTION, "pair", name):
            if sample.get("log_seconds"):
                rate = sample["log_bytes"] / sample["log_seconds"]
                rows.append((rate * 8 / 1e6, rate * sample["seconds"] / sample["count"], sample["lag_ms"]))
        return tuple(map(statistics.median, zip(*rows))) if rows else None

    def save(self, path):
        pathlib.Path(path).write_text(json.dumps({"about": self.about, "samples": self.samples}, indent=1) + "\n")

    @staticmethod
    def load(path, clock):
        kept = json.loads(pathlib.Path(path).read_text())
        figures = Figures(kept["about"], clock)
        figures.samples = kept["samples"]
        return figures


def geometric_mean(values):
    values = [value for value in values if value]
    return statistics.geometric_mean(values) if values else None


def spread(figures):
    """The largest relative distance of a sample from its median, by workload and way: how noisy the run was."""
    groups = collections.defaultdict(list)
    for sample in figures.samples:
        if sample.get(figures.clock):
            speed = sample["count"] / sample[figures.clock]
            groups[sample["phase"], sample["way"], sample["workload"]].append(speed)
    return {key: max(abs(v / statistics.median(values) - 1) for v in values) for key, values in groups.items()}
