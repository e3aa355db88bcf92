# SPDX-License-Identifier: Apache-2.0
"""The metrics: as docs/api.md lists them, and as the alert rules and the board use them. `--promtool` lets promtool judge, too."""

import json
import pathlib
import re
import subprocess
import sys
import unittest

from api_lab import ApiLab

WITH_PROMTOOL = "--promtool" in sys.argv
if WITH_PROMTOOL:
    sys.argv.remove("--promtool")
ApiLab.PROGRAM = sys.argv.pop(1)
ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = ROOT / "share/prometheus/lockstep.rules.yml"
BOARD = ROOT / "share/grafana/lockstep.json"
SAMPLE = re.compile(r'^([a-z0-9_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)$')


class Metrics(ApiLab):
    def scrape(self):
        connection = self.connect()
        self.addCleanup(connection.close)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.getheader("Content-Type").startswith("text/plain; version=0.0.4"))
        return answer.read().decode()

    def names(self, text):
        return re.findall(r"^# TYPE (\S+) (gauge|counter)$", text, re.MULTILINE)

    def test_a_scrape(self):
        self.start_api()
        self.assertNotIn("vm=", self.scrape())
        vm = self.start_vm()
        text = self.scrape()
        samples = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                self.assertRegex(line, SAMPLE)
                name, labels, value = SAMPLE.match(line).groups()
                samples[name] = (labels, float(value))
        named = dict(self.names(text))
        self.assertEqual(set(samples), set(named), "each metric has a sample of a VM that runs")
        self.assertEqual(samples["lockstep_vm_owner"], ('vm="toy"', 1))
        self.assertEqual(samples["lockstep_vm_memory_bytes"][1], 64 << 20)
        self.assertEqual(samples["lockstep_vm_info"][0], 'vm="toy",role="solo",state="Solo"')
        for name, kind in named.items():
            self.assertEqual(name.endswith("_total"), kind == "counter", name)
        self.wait_for("the guest goes on", lambda: "lockstep_vm_instructions_total" in (now := self.scrape()) and now != text)
        vm.kill()
        vm.wait()
        self.assertNotIn("vm=", self.scrape())

    def test_the_manual_has_the_table(self):
        self.start_api()
        helps = re.findall(r"^# HELP (\S+) (.*)$", text := self.scrape(), re.MULTILINE)
        kinds = dict(self.names(text))
        manual = (ROOT / "docs/api.md").read_text()
        for name, meaning in helps:
            self.assertIn(f"| `{name}` | {kinds[name]} | {meaning} |\n", manual)

    def test_expressions_name_metrics_that_are_there(self):
        self.start_api()
        named = dict(self.names(self.scrape()))
        expressions = re.findall(r"^        expr: (.*)$", RULES.read_text(), re.MULTILINE)
        self.assertEqual(len(expressions), RULES.read_text().count("- alert:"))
        board = json.loads(BOARD.read_text())
        expressions += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        used = set()
        for expression in expressions:
            words = re.findall(r"\blockstep_[a-z0-9_]+", expression)
            self.assertTrue(words, expression)
            used.update(words)
            for word in words:
                self.assertIn(word, named, expression)
                if re.search(rf"\b(rate|increase)\({word}\b", expression):
                    self.assertEqual(named[word], "counter", expression)
        self.assertGreater(len(used), 20)

    @unittest.skipUnless(WITH_PROMTOOL, "promtool is of the long test")
    def test_promtool_finds_nothing_to_say(self):
        self.start_api()
        self.start_vm()
        for arguments, content in [(("metrics",), self.scrape()), (("rules", str(RULES)), "")]:
            done = subprocess.run(["promtool", "check", *arguments], input=content, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done)
        board = json.loads(BOARD.read_text())
        rules = {"groups": [{"name": "board", "rules": [
            {"record": f"board:panel_{panel['id']}_{target['refId'].lower()}", "expr": target["expr"]} for panel in board["panels"] for target in panel["targets"]]}]}
        file = self.folder / "board.yml"
        file.write_text(json.dumps(rules))  # JSON is YAML
        done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done)


if __name__ == "__main__":
    unittest.main()
