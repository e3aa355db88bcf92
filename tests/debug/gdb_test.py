# SPDX-License-Identifier: Apache-2.0
"""gdb, as Debian has it, walks about in a recording of a small guest.

  gdb_test.py LOCKSTEP GUEST"""

import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import unittest

LOCKSTEP, GUEST = sys.argv[1:3]
del sys.argv[1:3]
TIMEOUT = 120

WRONG_ROUND = 11111
VICTIM = 0x1122334455667788


def kernel_image(program):
    """A bzImage: a boot sector, one setup sector, the program at the 64-bit entry point."""
    image = bytearray(0x400 + 0x200)
    fields = [(0x1F1, "<B", 1), (0x1FE, "<H", 0xAA55), (0x200, "<H", 0x66EB), (0x202, "<I", 0x53726448), (0x206, "<H", 0x20F)]
    fields += [(0x211, "<B", 1), (0x22C, "<I", 0x7FFFFFFF), (0x236, "<H", 1), (0x238, "<I", 2047)]
    fields += [(0x258, "<Q", 0x1000000), (0x260, "<I", 0x400000)]
    for at, form, value in fields:
        struct.pack_into(form, image, at, value)
    return bytes(image) + program


class Recorded(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.TemporaryDirectory(prefix="lockstep-debug-")
        cls.folder = pathlib.Path(cls.place.name)
        program = cls.folder / "program"
        subprocess.run(["objcopy", "-O", "binary", GUEST, program], check=True)
        (cls.folder / "kernel").write_bytes(kernel_image(program.read_bytes()))
        config = cls.folder / "vm.toml"
        config.write_text(f'[vm]\nname = "toy"\nkernel = "{cls.folder}/kernel"\nmemory = "64 MiB"\n[console]\nkind = "none"\n')
        cls.log = cls.folder / "toy.log"
        command = [LOCKSTEP, "record", config, cls.log, "--runtime", cls.folder / "run"]
        (cls.folder / "run").mkdir(mode=0o700)
        subprocess.run(command, check=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL)

    @classmethod
    def tearDownClass(cls):
        cls.place.cleanup()

    def gdb(self, *commands, debug=()):
        """What gdb prints, a line in a list for each "echo" or "print" among the commands."""
        target = " ".join([LOCKSTEP, "debug", str(self.log), *debug])
        script = ["set pagination off", "set confirm off", "set remotetimeout 100", f"target remote | {target}", *commands, "kill"]
        arguments = [argument for command in script for argument in ("-ex", command)]
        done = subprocess.run(["gdb", "-nx", "-batch", GUEST, *arguments], text=True, capture_output=True, timeout=TIMEOUT)
        self.output = done.stdout + done.stderr
        return self.output

    def values(self, *commands, **how):
        """The numbers that "p/d" commands print."""
        return [int(number) for number in re.findall(r"^\$\d+ = (-?\d+)$", self.gdb(*commands, **how), re.MULTILINE)]

    def test_from_the_panic_back_to_the_write(self):
        values = self.values(
            "break panic", "continue", "p/d $icount", "p/d *(long*)&victim", "delete",
            "watch *(long*)&victim", "reverse-continue", "p/d $rip == (long)&corrupt + 17", "p/d $ebx", "p/d *(long*)&victim",
            "delete", "stepi", "p/d *(long*)&victim", "p/d $icount",
        )  # fmt: skip
        panic, corrupted, in_corrupt, wrong_round, before, after, icount = values
        self.assertEqual(corrupted, 7)
        self.assertEqual(in_corrupt, 1, self.output)
        self.assertEqual((wrong_round, before, after), (WRONG_ROUND, VICTIM, 7))
        self.assertLess(icount, panic)

    def test_watchpoints_see_each_change_on_the_way_on(self):
        values = self.values(
            "watch *(long*)&victim", "continue", "p/d *(long*)&victim", "p/d $ebx", "delete",
            "awatch *(long*)&victim", "continue", "p/d $ebx",
        )  # fmt: skip
        self.assertEqual(values, [7, WRONG_ROUND, 30000], self.output)

    def test_breakpoints_are_met_in_the_opposite_order_on_the_way_back(self):
        rounds = 5
        on = ["continue", "p/d $icount", "p/d *(long*)&rounds"] * rounds
        back = ["reverse-continue", "p/d $icount", "p/d *(long*)&rounds"] * (rounds - 1)
        for kind in ("break", "hbreak"):
            values = self.values(f"{kind} work", *on, *back)
            pairs = list(zip(values[::2], values[1::2]))
            self.assertEqual([count for _, count in pairs], [0, 1, 2, 3, 4, 3, 2, 1, 0], self.output)
            self.assertEqual(pairs[rounds:], pairs[: rounds - 1][::-1])

    def test_steps_back_undo_steps(self):
        look = ["p/d $icount", "p/d $rip", "p/d $rsp", "p/d $eflags", "p/d *(long*)$rsp"]
        steps = 12
        values = self.values(
            "break corrupt", "continue", *look, *(["stepi", *look] * steps), *(["reverse-stepi", *look] * steps))  # fmt: skip
        states = [tuple(values[i : i + len(look)]) for i in range(0, len(values), len(look))]
        self.assertEqual(len(states), 2 * steps + 1, self.output)
        self.assertEqual([state[0] - states[0][0] for state in states[: steps + 1]], list(range(steps + 1)))
        self.assertEqual(states, states[::-1])

    def test_the_recording_has_two_ends(self):
        text = self.gdb("continue", "p/d *(long*)&rounds", "info registers rip", "reverse-continue", "p/d *(long*)&rounds", "info registers rip")
        self.assertEqual(text.count("No more reverse-execution history"), 2, text)
        self.assertEqual(re.findall(r"^\$\d+ = (\d+)$", text, re.MULTILINE), ["30000", "0"])
        self.assertIn("<_start>", text)
        self.assertNotIn("differs", text)

    def test_the_way_is_the_same_with_few_copies(self):
        commands = ("break panic", "continue", "p/d $icount", "delete", "watch *(long*)&victim", "reverse-continue", "p/d $icount",
                    "delete", "break work", "reverse-continue", "p/d $icount", "reverse-stepi", "p/d $icount", "monitor icount")  # fmt: skip
        few = self.values(*commands, debug=("--copies", "2", "--distance", "1000"))
        self.assertIn("2 copies", self.output)
        many = self.values(*commands)
        self.assertEqual(len(few), 4, self.output)
        self.assertEqual(few, many)

    def test_monitor_commands(self):
        text = self.gdb("monitor help", "monitor nonsense")
        self.assertIn("search changes ADDRESS LENGTH", text)
        self.assertIn('there is no command "nonsense"', text)
        victim = self.values("p/d (long)&victim")[0]
        values = self.values(
            "break panic", "continue", "delete", f"monitor search changes {victim} 8",
            "maintenance flush register-cache", "p/d $ebx", "p/d *(long*)&victim", "p/d $icount", "monitor icount",
            "monitor goto 1000", "maintenance flush register-cache", "p/d $icount",
        )  # fmt: skip
        self.assertEqual(values[:2], [WRONG_ROUND, VICTIM], self.output)
        self.assertIn(f"icount {values[2]}; the recording begins at 0", self.output)
        self.assertEqual(values[3], 1000)
        text = self.gdb("monitor search changes 0xffff000000000000 8", "monitor search changes x", "monitor devices")
        self.assertIn("nothing lies at", text)
        self.assertIn("search wants an address", text)
        self.assertIn("icount 0 rip 0000000001000200", text)
        text = self.gdb("continue", "monitor log 3")
        self.assertRegex(text, r"(?s)TimeAdvance.*--- icount.*Output.*End")

    def test_nothing_is_written(self):
        text = self.gdb("set var *(long*)&rounds = 5", "p/d *(long*)&rounds", "set var $rax = 5")
        self.assertIn("$1 = 0", text)
        self.assertRegex(text, "(?i)cannot access memory|could not write")

    def test_what_is_no_recording_is_refused(self):
        wrong = self.folder / "wrong.log"
        wrong.write_bytes(b"nonsense" * 100)
        done = subprocess.run([LOCKSTEP, "debug", wrong], stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)


if __name__ == "__main__":
    unittest.main()
