# SPDX-License-Identifier: Apache-2.0
"""Runs the workloads, round by round, every way in turn."""

import subprocess

from labkit.console import ConsoleError

from .figures import BESIDE, PROTECTION, SIDE_BY_SIDE
from .ways import Lockstep, Native, Neighbour, Protected, Qemu
from .workloads import Boot, Inside

FAILURES = (ConsoleError, RuntimeError, subprocess.SubprocessError, OSError, ValueError, KeyError)


class Run:
    """One run of the comparison. `say` takes a line about what was just measured."""

    def __init__(self, lab, root, image, figures, arguments, say):
        self.root = root
        self.figures = figures
        self.workloads = arguments.workloads
        self.rounds = arguments.rounds
        self.scale = arguments.scale
        self.timeout = arguments.timeout
        self.say = say
        self.makers = {
            "native": lambda: Native(root),
            "qemu": lambda: Qemu(lab, image, arguments.memory),
            "lockstep": lambda: Lockstep(lab, image, arguments.memory),
            "pair": lambda: Protected(lab, image, arguments.memory),
            "neighbour": lambda: Neighbour(lab, image, arguments.memory),
        }

    def side_by_side(self, names):
        """The ways of these names in turn, workload by workload; a guest that isn't measured is idle."""
        ways = [make() for name, make in self.makers.items() if name in names]
        try:
            for number in range(self.rounds):
                for workload in self.workloads:
                    for way in ways:
                        if workload.has_native or way.name != "native":
                            self._measure(SIDE_BY_SIDE, way, workload, number)
        finally:
            for way in ways:
                way.stop()

    def protection(self, beside_neighbour):
        """The VM alone and one that is a pair in turn, workload by workload, all but the boot; returns how often the two
        sides of the pair differed. Between the two, if wanted, the VM alone once more, while a neighbour does the same
        work. Each workload runs once beforehand: a new backup has nothing translated yet, and a guest that has just
        been started nothing in its page cache."""
        alone, pair, neighbour = (self.makers[name]() for name in ("lockstep", "pair", "neighbour"))
        workloads = [workload for workload in self.workloads if not isinstance(workload, Boot)]
        try:
            for number in range(self.rounds):
                for workload in workloads:
                    self._warm_up(alone, workload)
                    self._measure(PROTECTION, alone, workload, number)
                    if beside_neighbour and isinstance(workload, Inside):
                        self._beside_neighbour(alone, neighbour, workload, number)
                    self._warm_up(pair, workload)
                    self._measure(PROTECTION, pair, workload, number)
            return pair.pair.divergences()
        finally:
            for way in (alone, pair, neighbour):
                way.stop()

    def _beside_neighbour(self, alone, neighbour, workload, number):
        try:
            with neighbour.working(workload.command(self.scale), self.timeout):
                self._warm_up(alone, workload)
                self._measure(PROTECTION, alone, workload, number, name=BESIDE)
        except FAILURES as error:
            self.say(f"the neighbour failed: {' '.join(str(error).split())}")
            neighbour.stop()

    def _warm_up(self, way, workload):
        try:
            if not way.running:
                way.start()
            workload.run(way, self.root, self.scale, self.timeout)
        except FAILURES as error:
            self.say(f"{workload.name}: the warm-up failed: {' '.join(str(error).split())}")
            way.stop()

    def _measure(self, phase, way, workload, number, name=None):
        """One workload one way. A way that fails is started anew for the next workload."""
        name = name or way.name
        try:
            if not isinstance(workload, Boot) and not way.running:
                way.start()
            measured = workload.run(way, self.root, self.scale, self.timeout)
            if isinstance(way, Protected):
                way.check()
        except FAILURES as error:
            error = " ".join(str(error).split())
            self.figures.fail(phase, name, workload.name, error)
            self.say(f"round {number + 1}  {workload.name:<15} {name:<9} FAILED: {error}")
            way.stop()
            return
        self.figures.add(phase, name, workload.name, measured)
        speed = measured.count / measured.seconds
        self.say(f"round {number + 1}  {workload.name:<15} {name:<9} {measured.seconds:8.3f} s {speed:12.1f}/s")
