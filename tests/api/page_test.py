# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser (Chromium by Selenium): a pair of toy VMs, its fail-over watched live, its console, its buttons."""

import os
import pathlib
import re
import sys
import unittest

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from api_lab import ApiLab

ApiLab.PROGRAM = sys.argv.pop(1)
PICTURE = os.environ.get("LOCKSTEP_PICTURE")
"""Where a picture of the page goes, if one is wanted."""


def browser():
    options = webdriver.ChromeOptions()
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,1500", "--force-color-profile=srgb"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options)


class Page(ApiLab):
    def setUp(self):
        super().setUp()
        self.driver = browser()
        self.addCleanup(self.driver.quit)

    def start_pair(self):
        """Hosts a and b, each with a daemon and a runtime folder; the VM runs on a, protected by b. The API is b's."""
        (self.folder / "arbiter").mkdir()
        (self.folder / "host.toml").write_text(f'[host]\nconfine = false\n[allow]\nfolders = ["{self.folder}", "/dev/null"]\n')
        hosts = {}
        for name in "ab":
            self.start(f"daemon-{name}", "serve", "--insecure", "--listen", "127.0.0.1:0", "--runtime", self.folder / name)
            log = self.folder / f"daemon-{name}.log"
            hosts[name] = self.wait_for("a daemon listens", lambda: re.search(r"takes backups at (127.0.0.1:\d+)", log.read_text()))[1]
        config = self.folder / "toy.toml"
        config.write_text(
            '[vm]\nname = "toy"\nkernel = "/dev/null"\nmemory = "64 MiB"\ncommand_line = "toy"\n'
            f'[protection]\nhosts = ["{hosts["a"]}", "{hosts["b"]}"]\narbiter = "{self.folder}/arbiter"\n')
        self.start("vm", "run", config, "--insecure", "--host", hosts["a"], "--runtime", self.folder / "a")
        self.wait_for("it is protected", lambda: '"protected":true' in self.status("a"))
        self.start_api("--runtime", self.folder / "b")

    def status(self, host):
        return self.run_command("status", "toy", "--json", "--runtime", self.folder / host).stdout

    def open(self):
        self.driver.get(f"http://127.0.0.1:{self.port}/")
        self.wait_for_text("#link", "live")

    def text(self, selector):
        try:
            return "\n".join(found.text for found in self.driver.find_elements(By.CSS_SELECTOR, selector))
        except StaleElementReferenceException:
            return ""

    def wait_for_text(self, selector, wanted):
        self.wait_for(f"{wanted} in {selector}", lambda: re.search(wanted, self.text(selector)))

    def assert_no_complaints(self):
        """Of the browser: nothing broke its content policy, and nothing failed."""
        complaints = [entry["message"] for entry in self.driver.get_log("browser") if "/v1/" not in entry["message"]]
        self.assertEqual(complaints, [])

    def test_a_fail_over_is_watched_live(self):
        self.start_pair()
        self.open()
        self.wait_for_text("#vm-toy .mark", "backup")
        self.wait_for_text("#vm-toy .actions", "ask the host on which the VM runs")
        disabled = self.driver.find_element(By.CSS_SELECTOR, '[data-action="reset"]')
        self.assertFalse(disabled.is_enabled())
        reason = self.driver.find_element(By.ID, disabled.get_attribute("aria-describedby")).text
        self.assertIn("reset is not possible while VM toy is in the state", reason)

        self.driver.execute_script("document.querySelector('[aria-describedby=why-toy-console]').focus()")
        self.driver.switch_to.active_element.send_keys(Keys.ENTER)
        self.wait_for_text(".console", r"\d+\n\d+")
        self.assertFalse(self.driver.find_elements(By.CSS_SELECTOR, '[data-action="snapshot"]'), "it needs a path, which a button can't say")

        self.assertEqual(self.run_command("failover", "toy", "--runtime", self.folder / "a").returncode, 0)
        self.wait_for_text("#vm-toy .mark", "primary|solo")
        self.wait_for_text("#changes", "role backup → (solo|primary)")
        # The console stays, and takes input now.
        self.driver.switch_to.active_element.send_keys("hello")
        self.wait_for_text(".console", "echo hello|e\\s*c\\s*h\\s*o")
        self.wait_for_text("#vm-toy .mark", "primary")
        self.wait_for_text("#vm-toy .protection", "protected by 127.0.0.1")
        if PICTURE:
            self.driver.execute_script("scrollTo(0, 0)")
            self.driver.save_screenshot(PICTURE)
        self.driver.switch_to.active_element.send_keys(Keys.CONTROL, "]")
        self.wait_for("the console is left", lambda: not self.driver.find_elements(By.CSS_SELECTOR, ".console"))
        self.assertEqual(self.driver.switch_to.active_element.text, "console", "the focus is where it was")

        # Back again, by the keyboard alone.
        self.wait_for("failover is possible", lambda: self.driver.find_element(By.CSS_SELECTOR, '[data-action="failover"]').is_enabled())
        self.driver.find_element(By.CSS_SELECTOR, '[data-action="failover"]').send_keys(Keys.ENTER)
        self.wait_for_text("#said", "VM toy goes over to its backup")
        self.wait_for_text("#vm-toy .mark", "backup")
        self.assert_no_complaints()

    def test_a_drastic_action_asks_first(self):
        self.start_vm()
        self.start_api()
        self.open()
        self.wait_for_text("#vm-toy .mark", "solo")
        self.wait_for("it may be switched off", lambda: self.driver.find_elements(By.CSS_SELECTOR, '[data-action="poweroff"]:enabled'))
        button = self.driver.find_element(By.CSS_SELECTOR, '[data-action="poweroff"]')
        button.send_keys(Keys.ENTER)
        self.driver.switch_to.alert.dismiss()
        self.assertIn("solo", self.text("#vm-toy .mark"))
        self.driver.find_element(By.CSS_SELECTOR, '[data-action="poweroff"]').send_keys(Keys.ENTER)
        self.driver.switch_to.alert.accept()
        self.wait_for("the VM is gone", lambda: not self.driver.find_elements(By.ID, "vm-toy"))
        self.wait_for_text("main", "No VM runs on this host")
        self.wait_for_text("#changes", "gone")
        self.assert_no_complaints()

    def test_the_keyboard_reaches_everything_and_a_phone_shows_it(self):
        self.start_vm()
        self.start_api()
        self.driver.set_window_size(390, 800)
        self.open()
        self.wait_for("buttons", lambda: self.driver.find_elements(By.CSS_SELECTOR, '[data-action="reset"]'))
        wide = self.driver.execute_script("return document.documentElement.scrollWidth > document.documentElement.clientWidth")
        self.assertFalse(wide, "it must not scroll sideways")
        wanted = {button.text for button in self.driver.find_elements(By.CSS_SELECTOR, "button:enabled")}
        reached = set()
        for _ in range(30):
            self.driver.switch_to.active_element.send_keys(Keys.TAB)
            reached.add(self.driver.switch_to.active_element.text)
        self.assertLessEqual(wanted, reached)
        unnamed = self.driver.execute_script(
            "return [...document.querySelectorAll('button, [role], article, section')].filter(one => !(one.textContent.trim() || one.ariaLabel || one.id)).length")
        self.assertEqual(unnamed, 0)

    def test_a_host_that_dies_is_said_and_found_again(self):
        self.start_vm()
        api = self.start_api()
        self.open()
        api.terminate()
        api.wait()
        self.wait_for_text("#link", "no answer; what is shown is old")
        self.start("api-again", "api", "--insecure", "--listen", f"127.0.0.1:{self.port}")
        self.wait_for_text("#link", "live")


if __name__ == "__main__":
    unittest.main()
