# SPDX-License-Identifier: Apache-2.0
"""The manual page, the completion and the exit statuses: made from the program's tables, and as docs/operation.md says."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv.pop(1)
MANUAL = (pathlib.Path(__file__).resolve().parents[2] / "docs/operation.md").read_text()


def lockstep(*arguments, **more):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, **more)


def commands_of_help():
    """As `lockstep --help` lists them."""
    listed = lockstep("--help").stdout.split("Subcommands:\n")[1]
    return re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE)


def completions(*words):
    """What bash offers for the last of these words."""
    script = lockstep("completion").stdout
    line = " ".join(f"'{word}'" for word in ("lockstep", *words))
    ask = f'COMP_WORDS=({line}); COMP_CWORD={len(words)}; _lockstep; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
    return done.stdout.split()


class Manual(unittest.TestCase):
    def test_the_page_has_every_command(self):
        page = lockstep("manual-page").stdout.replace("\\-", "-")
        for command in commands_of_help():
            self.assertRegex(page, rf"\n\.SS {command}\b", "a command is missing")
        self.assertIn(".SS failover VM [HOW]\n", page)
        self.assertIn('.B HOW\nplanned: nothing is lost or waits', page)
        self.assertIn("it needs the role operator", page)
        self.assertNotRegex(page, r"\n\.SS backup", "of the daemon alone")

    def test_the_page_is_good_roff(self):
        page = lockstep("manual-page").stdout
        for line in page.splitlines():
            self.assertRegex(line, r'^(\.(TH|SH|SS|TP|B|I|\\") ?|[^.\'])', "a line that man(1) would take for a request")
        self.assertEqual(page, lockstep("manual-page").stdout)

    def test_the_manual_has_the_exit_statuses(self):
        page = lockstep("manual-page").stdout.replace("\\-", "-")
        rows = re.findall(r"^\| (\d) \| (.*) \|$", MANUAL, re.MULTILINE)
        of_page = re.findall(r"\.TP\n\.B (\d)\n(.*)\n", page)
        self.assertEqual([number for number, _ in rows], [number for number, _ in of_page])
        for (_, text), (_, of_page_text) in zip(rows, of_page):
            self.assertEqual(text, of_page_text)


class Completion(unittest.TestCase):
    def test_commands(self):
        offered = completions("")
        for command in commands_of_help():
            self.assertIn(command, offered)
        self.assertEqual(completions("unpro"), ["unprotect"])

    def test_inner_commands_switches_and_choices(self):
        self.assertIn("init", completions("cluster", ""))
        self.assertEqual(completions("cluster", "token", "host-b", "--h"), ["--help", "--hours"])
        self.assertEqual(completions("failover", "web", "cr"), ["crash"])

    def test_names_of_vms(self):
        with tempfile.TemporaryDirectory() as base:
            vm = pathlib.Path(base) / "web"
            vm.mkdir()
            (vm / "pid").touch()
            os.environ["LOCKSTEP_RUNTIME"] = base
            try:
                self.assertEqual(completions("poweroff", "w"), ["web"])
            finally:
                del os.environ["LOCKSTEP_RUNTIME"]


class Answers(unittest.TestCase):
    def test_a_problem_is_an_object_too(self):
        with tempfile.TemporaryDirectory() as base:
            done = lockstep("poweroff", "web", "--json", "--runtime", base)
            self.assertEqual(done.returncode, 1, done)
            self.assertEqual(json.loads(done.stdout)["code"], "no-such-vm")
            self.assertIn("lockstep: ", done.stderr)
            self.assertEqual(lockstep("status", "--json", "--runtime", base).stdout, "")

    def test_a_choice_that_is_none_makes_no_sense(self):
        done = lockstep("failover", "web", "soon")
        self.assertEqual(done.returncode, 2, done)
        self.assertIn("soon", done.stderr)

    def test_lists_for_programs(self):
        keys = json.loads(lockstep("config-keys", "--json").stdout)["keys"]
        self.assertIn("kernel", [key["key"] for key in keys])


if __name__ == "__main__":
    unittest.main()
