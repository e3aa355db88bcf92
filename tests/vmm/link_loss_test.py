# SPDX-License-Identifier: Apache-2.0
"""A host whose guest network is cut: it says so, and hands the guest over where the configuration wants that.

Needs root, for the laboratory. Usage: link_loss_test.py PROGRAM, with toy machines in it.
"""

import time
import unittest

from toy_lab import ToyLabTest

ADDRESSES = ["10:10:10:10:10:10", "12:12:12:12:12:12"]  # the second in a VLAN


class LinkLossTest(ToyLabTest):
    NAME = "linkloss"

    def protect(self, policy, command_line="toy"):
        super().protect("52:54:00:00:00:01", command_line, f"hand_over_on_link_loss = {policy}")

    def test_a_cut_network_is_said_and_without_the_policy_the_guest_stays(self):
        self.protect("false")
        self.lab.cut("guest-a")
        self.wait_for("a says so", lambda: "lan0 of the bridge br0 has no carrier" in self.status("a")["why"])
        self.assertIn("no carrier", self.status("a")["networks"][0]["fault"])
        self.assertEqual(self.status("b")["networks"][0]["fault"], "")
        time.sleep(4)
        self.assertEqual(self.status("a")["role"], "primary")
        self.lab.restore("guest-a")
        self.wait_for("it is well again", lambda: "no carrier" not in self.status("a")["why"])

    def test_with_the_policy_the_guest_goes_where_its_network_is(self):
        self.protect("true")
        self.lab.cut("guest-a")
        cut = time.monotonic()
        self.wait_for("the guest is on b", lambda: self.status("b").get("role") in ("solo", "primary"))
        print(f"the guest was on the other host {time.monotonic() - cut:.1f} s after the cut")
        self.wait_for("protected again", lambda: self.status("b").get("protected"))
        self.assertEqual(self.status("b")["term"], 2)

        # Cut on both sides: it stays where it is.
        self.lab.cut("guest-b")
        self.wait_for("b says so", lambda: "no carrier" in self.status("b")["why"])
        time.sleep(4)
        self.assertEqual(self.status("b")["role"], "primary")

        # The backup's side is well again: back to it.
        self.lab.restore("guest-a")
        self.wait_for("the guest is on a", lambda: self.status("a").get("role") in ("solo", "primary"))

    def ports_of_guest(self):
        """Behind which port of the switch each of the toy's two addresses is, as the switch has learned."""
        lines = self.lab.run("switch", "bridge", "fdb", "show", "br", "br0").stdout.splitlines()
        words = [line.split() for line in lines]
        return {w[0]: w[w.index("dev") + 1] for w in words if w[0] in ADDRESSES}

    def test_all_addresses_of_a_guest_that_says_nothing_are_known_where_it_went(self):
        self.protect("false", "quiet")
        sent = lambda: self.status("a")["traffic"]["packets_out"]  # noqa: E731
        self.wait_for("the switch knows both", lambda: self.ports_of_guest() == dict.fromkeys(ADDRESSES, "to-a"))
        before = -1
        while before != sent():
            before = sent()
            time.sleep(1)
        self.lab.kill("vm")
        killed = time.monotonic()
        self.wait_for("the switch knows better", lambda: self.ports_of_guest() == dict.fromkeys(ADDRESSES, "to-b"), 10)
        print(f"both addresses were known on the other host {time.monotonic() - killed:.1f} s after the kill")


if __name__ == "__main__":
    unittest.main(verbosity=2)
