# SPDX-License-Identifier: Apache-2.0
"""The tables for the terminal, and the goals."""

from .figures import BESIDE, PROTECTION, geometric_mean, spread
from .workloads import WORKLOADS

# The goals for the means and for each workload.
PROGRAMS_TIMES_NATIVE = 2.0  # geometric mean, at most
PROGRAMS_TIMES_QEMU = 4.0  # geometric mean of "times faster", at least; each at least 1
GUEST_TIMES_QEMU = 3.0  # geometric mean, at least
GUEST_TIMES_QEMU_EACH = 2.0
PAIR_SHARE_EACH = 0.95  # of the speed of the VM alone


def number(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def inverse(value):
    return None if value is None else 1 / value


def rate(value):
    return "-" if value is None else f"{value:.4g}"


def print_table(title, header, rows):
    rows = [header, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    print(f"\n{title}\n")
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        print("  ".join(cells).rstrip())


def means(figures, names, pairs, phase=None):
    arguments = {} if phase is None else {"phase": phase}
    return [geometric_mean(figures.faster(way, than, name, **arguments) for name in names) for way, than in pairs]


def times_native_table(figures, suite, title):
    names = figures.names(suite)
    if not names:
        return
    rows = []
    for name in names:
        native = figures.seconds("native", name)
        rows.append((
            name, number(native and native * 1000, 0), number(inverse(figures.faster("qemu", "native", name))),
            number(inverse(figures.faster("lockstep", "native", name))), number(figures.faster("lockstep", "qemu", name)),
        ))  # fmt: skip
    qemu, lockstep, faster = means(figures, names, [("qemu", "native"), ("lockstep", "native"), ("lockstep", "qemu")])
    rows.append(("geometric mean", "", number(inverse(qemu)), number(inverse(lockstep)), number(faster)))
    header = (suite, "native ms", "QEMU, times native", "Lockstep, times native", "times faster than QEMU")
    print_table(title, header, rows)


def guest_table(figures):
    names = figures.names("guest")
    if not names:
        return
    rows = []
    for name in names:
        unit = WORKLOADS[name].unit
        measure, label = (figures.speed, unit + "/s") if unit else (figures.seconds, "s")
        values = [rate(measure(way, name)) for way in ("native", "qemu", "lockstep")]
        rows.append((name, label, *values, number(figures.faster("lockstep", "qemu", name))))
    (faster,) = means(figures, names, [("lockstep", "qemu")])
    rows.append(("geometric mean", "", "", "", "", number(faster)))
    header = ("work of the whole guest", "unit", "native", "QEMU", "Lockstep", "times faster than QEMU")
    print_table("Whole guest", header, rows)


def pair_table(figures):
    rows = []
    names = [name for name in WORKLOADS if figures.faster("pair", "lockstep", name, PROTECTION)]
    for name in names:
        unit = WORKLOADS[name].unit
        megabits, bytes_each, lag = figures.log(name) or (None, None, None)
        each = f"{number(bytes_each, 0)} a {unit}" if unit else ""
        shares = [number(figures.faster("pair", other, name, PROTECTION)) for other in ("lockstep", BESIDE)]
        rows.append((name, *shares, number(megabits, 3), each, number(lag, 0)))
    if rows:
        shares = means(figures, names, [("pair", "lockstep"), ("pair", BESIDE)], PROTECTION)
        rows.append(("geometric mean", *map(number, shares), "", "", ""))
        header = ("protected pair", "of the VM alone", "of it beside a neighbour", "log Mbit/s", "log bytes", "lag ms")
        print_table("A protected pair", header, rows)


def missed_goals(figures):
    """A sentence for each goal that was missed."""
    programs, guest = figures.names("programs"), figures.names("guest")
    native, qemu = means(figures, programs, [("lockstep", "native"), ("lockstep", "qemu")])
    (guest_mean,) = means(figures, guest, [("lockstep", "qemu")])
    missed = []

    def at_least(what, value, goal):
        if value is not None and value < goal:
            missed.append(f"{what}: {value:.2f}, the goal is {goal}")

    at_least("programs, share of native speed", native, 1 / PROGRAMS_TIMES_NATIVE)
    at_least("programs, times faster than QEMU", qemu, PROGRAMS_TIMES_QEMU)
    at_least("whole guest, times faster than QEMU", guest_mean, GUEST_TIMES_QEMU)
    for name in programs:
        at_least(f"{name}, times faster than QEMU", figures.faster("lockstep", "qemu", name), 1.0)
    for name in guest:
        at_least(f"{name}, times faster than QEMU", figures.faster("lockstep", "qemu", name), GUEST_TIMES_QEMU_EACH)
    for name in figures.names("programs", PROTECTION) + figures.names("guest", PROTECTION):
        share = figures.faster("pair", "lockstep", name, PROTECTION)
        at_least(f"{name} as a pair, of the VM alone", share, PAIR_SHARE_EACH)
    return missed


def print_report(figures):
    times_native_table(figures, "programs", "CPU programs")
    times_native_table(figures, "kernel", "Paths through the kernel")
    guest_table(figures)
    pair_table(figures)
    print()
    if figures.about.get("divergences"):
        print(f"FAILED: the two sides of the pair differed {figures.about['divergences']} times")
    for (phase, way, name), share in spread(figures).items():
        if share > 0.2:
            print(f"noisy: {name}, {way}, {phase}: a sample is {share:.0%} off the median")
    for sample in figures.failures():
        print(f"FAILED: {sample['workload']}, {sample['way']}: {sample['failure']}")
    for sentence in missed_goals(figures):
        print(f"goal missed: {sentence}")
