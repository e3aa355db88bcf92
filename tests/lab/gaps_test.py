# SPDX-License-Identifier: Apache-2.0
"""What is told of a load's gaps: all of them, each with its whole length."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from labkit.load import LOADS, NEW_LOADS, OPEN_LOADS, Gap, Load, gaps_between, longest_ms  # noqa: E402


def report(now_s, open_ms=0, **gaps):
    """A report in which each load has the named gaps, each an end in s and a length in ms; `open_ms` is echo's."""
    loads = {
        load: {
            "gaps": {
                "open_ms": open_ms if load == "echo" else 0,
                "long_gaps": [
                    {"end_s": end_s, "gap_ms": gap_ms, "asked_s": end_s - gap_ms / 1000, "resent": 0}
                    for end_s, gap_ms in gaps.get(load, [])
                ],
            }
        }
        for load in LOADS
    }
    return {"now_s": now_s, **loads}


class ScriptedLoad(Load):
    def __init__(self, *reports):
        self.reports = list(reports)

    def report(self):
        return self.reports.pop(0)


class GapsTest(unittest.TestCase):
    def test_gaps_are_those_with_a_part_in_the_time(self):
        found = gaps_between(report(20, echo=[(5, 100), (10.1, 300), (12, 400), (15.5, 1000)], http=[(11, 60)]), 10, 15)
        self.assertEqual([(gap.load, gap.length_ms) for gap in found],
                         [("echo", 300), ("http", 60), ("echo", 400), ("echo", 1000)])  # fmt: skip
        self.assertEqual(longest_ms(found, OPEN_LOADS), 1000)
        self.assertEqual(longest_ms(found, NEW_LOADS), 60)
        self.assertEqual(longest_ms([], NEW_LOADS), 0)

    def test_what_was_lost_is_known_by_what_was_sent_again(self):
        def cause(asked_s, resent, live_s=10.12):
            return Gap("echo", 10, 200, asked_s, resent).cause(failed_s=10.1, live_s=live_s)

        self.assertEqual(cause(10.05, 0), "answer late")
        self.assertEqual(cause(10.05, 1), "request lost in the dead process")
        self.assertEqual(cause(10.11, 1), "request lost while nobody read")
        self.assertEqual(cause(10.13, 1), "request lost later")
        self.assertEqual(cause(10.05, 1, live_s=10.35), "guest live late")

    def test_a_report_is_read_after_the_open_gap_has_ended(self):
        early = report(10.5, open_ms=700)
        late = report(10.9, open_ms=1, echo=[(10.8, 1000)])
        self.assertIs(ScriptedLoad(early, late).report_after(10), late)

    def test_a_gap_that_does_not_end_is_an_error(self):
        with self.assertRaisesRegex(RuntimeError, "no answer for 62 s"):
            ScriptedLoad(report(71, open_ms=62000)).report_after(10)


if __name__ == "__main__":
    unittest.main()
