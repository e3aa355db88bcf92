"""Runs the workloads, round by round, every way in turn."""

import subprocess

from labkit.console import ConsoleError

from .figures import BESIDE, PROTECTION, SIDE_BY_SIDE
from .ways import Lockstep, Native, Neighbour, Qemu
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
        """The VM alone and as a pair in turn, all workloads but the boot; returns how often the two sides differed.
        Between the two, if wanted, the VM alone once more, while a neighbour does the same work.
        Each workload runs once beforehand: a new backup has nothing translated yet, and a guest that has just been
        started nothing in its page cache."""
        way = self.makers["lockstep"]()
        workloads = [workload for workload in self.workloads if not isinstance(workload, Boot)]
        try:
            for number in range(self.rounds):
                for workload in workloads:
                    self._warm_up(way, workload)
                    self._measure(PROTECTION, way, workload, number)
                if beside_neighbour:
                    self._beside_neighbour(way, [w for w in workloads if isinstance(w, Inside)], number)
                for workload in workloads:
                    self._warm_up(way, workload, protected=True)
                    self._measure(PROTECTION, way, workload, number, protected=True)
            return way.pair.divergences()
        finally:
            way.stop()

    def _beside_neighbour(self, way, workloads, number):
        neighbour = self.makers["neighbour"]()
        try:
            for workload in workloads:
                self._make_ready(way, protected=False)
                with neighbour.working(workload.command(self.scale), self.timeout):
                    self._warm_up(way, workload)
                    self._measure(PROTECTION, way, workload, number, name=BESIDE)
        except FAILURES as error:
            self.say(f"the neighbour failed: {' '.join(str(error).split())}")
        finally:
            neighbour.stop()

    def _warm_up(self, way, workload, protected=False):
        try:
            self._make_ready(way, protected)
            workload.run(way, self.root, self.scale, self.timeout)
        except FAILURES as error:
            self.say(f"{workload.name}: the warm-up failed: {' '.join(str(error).split())}")
            way.stop()

    def _measure(self, phase, way, workload, number, protected=False, name=None):
        """One workload one way. A way that fails is started anew for the next workload."""
        name = name or ("pair" if protected else way.name)
        try:
            if not isinstance(workload, Boot):
                self._make_ready(way, protected)
            measured = workload.run(way, self.root, self.scale, self.timeout)
            if protected:
                way.check_protected()
        except FAILURES as error:
            error = " ".join(str(error).split())
            self.figures.fail(phase, name, workload.name, error)
            self.say(f"round {number + 1}  {workload.name:<15} {name:<9} FAILED: {error}")
            way.stop()
            return
        self.figures.add(phase, name, workload.name, measured)
        speed = measured.count / measured.seconds
        self.say(f"round {number + 1}  {workload.name:<15} {name:<9} {measured.seconds:8.3f} s {speed:12.1f}/s")

    @staticmethod
    def _make_ready(way, protected):
        if not way.running:
            way.start()
        if protected and not way.protected:
            way.protect()
        elif not protected and getattr(way, "protected", False):
            way.unprotect()
