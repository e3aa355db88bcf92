# SPDX-License-Identifier: Apache-2.0
"""The load client notices each kind of loss: it runs against servers that lose, repeat or change things."""

import collections
import json
import socketserver
import subprocess
import sys
import threading
import time
import unittest

LOAD_CLIENT = sys.argv.pop()
MASK = (1 << 64) - 1


class Server(socketserver.ThreadingTCPServer):
    """A server on a free port; `fault` is asked with the number of each operation and names what goes wrong."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, handler, fault):
        super().__init__(("127.0.0.1", 0), handler)
        self.fault = fault
        self.state = collections.defaultdict(str)
        self.operations = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def next_fault(self):
        self.operations += 1
        return self.fault(self.operations)


class EchoHandler(socketserver.StreamRequestHandler):
    def handle(self):
        value, count = 14695981039346656037, 0
        for line in self.rfile:
            for byte in line:
                value = ((value ^ byte) * 1099511628211) & MASK
            count += 1
            fault = self.server.next_fault()
            if fault == "close":
                return
            if fault == "pause":
                time.sleep(0.5)
            if fault == "forget":
                count -= 1
            answer = b"%d %d %016x\n" % (int(line.split()[0]), count, value)
            if fault != "lose":
                self.wfile.write(answer)
            if fault == "repeat":
                self.wfile.write(answer)


class RedisHandler(socketserver.StreamRequestHandler):
    def command(self):
        count = int(self.rfile.readline()[1:])
        words = []
        for _ in range(count):
            size = int(self.rfile.readline()[1:])
            words.append(self.rfile.read(size + 2)[:-2].decode())
        return words

    def handle(self):
        state = self.server.state
        try:
            while True:
                words = self.command()
                if words[0] == "MULTI":
                    self.transaction(state)
                elif words[0] == "GET":
                    value = state[words[1]].encode()
                    self.wfile.write(b"$%d\r\n%s\r\n" % (len(value), value))
        except ValueError:
            return

    def transaction(self, state):
        _, key, value = self.command()
        counter = self.command()[1]
        self.command()
        fault = self.server.next_fault()
        if fault != "lose-count":
            state[counter] = str(int(state[counter] or 0) + 1)
        if fault != "lose-value":
            state[key] = value
        if fault == "close-done":
            self.wfile.close()
            raise ValueError("closed")
        answer = state[counter].encode()
        self.wfile.write(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:" + answer + b"\r\n")


class HttpHandler(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline() != b"\r\n":
            pass
        body = bytearray(content(1, 1 << 20))
        fault = self.server.next_fault()
        if fault == "change":
            body[70000] ^= 1
            body[900001] ^= 0x80
        if fault == "cut":
            del body[500000:]
        self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)


def content(seed, size, cache={}):
    """The file content of tools/guest/content.h."""
    if (seed, size) not in cache:
        words = []
        for i in range(size // 8):
            z = (seed * 0xD1342543DE82EF95 + (i + 1) * 0x9E3779B97F4A7C15) & MASK
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
            words.append((z ^ (z >> 31)).to_bytes(8, "little"))
        cache[seed, size] = b"".join(words)
    return cache[seed, size]


HANDLERS = {"echo": EchoHandler, "redis": RedisHandler, "http": HttpHandler}


def run_load(load, fault, *options):
    """Runs one load against a faulty server, long enough to meet the fault on a busy host; returns the exit status and
    the final report."""
    seconds = {"echo": 1, "redis": 2, "http": 3}[load]
    with Server(HANDLERS[load], fault) as server:
        command = [
            LOAD_CLIENT, "127.0.0.1", "--seconds", str(seconds), "--loads", load, "--wait-seconds", "1",
            f"--{load}-port", str(server.server_address[1]), f"--{load}-pause", "500", "--redis-keys", "50",
            *options,
        ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        server.shutdown()
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def at(number, kind):
    return lambda operation: kind if operation == number else None


class LoadClientTest(unittest.TestCase):
    def test_a_faultless_guest_passes(self):
        for load in HANDLERS:
            status, report = run_load(load, lambda operation: None)
            self.assertEqual(status, 0, report)
            self.assertGreater(report[load]["operations"], 5)
            self.assertEqual(report["connections_lost"], 0)

    def test_a_closed_connection_is_counted(self):
        status, report = run_load("echo", at(20, "close"))
        self.assertEqual((status, report["connections_lost"]), (1, 1))

    def test_a_silent_guest_counts_as_a_lost_connection(self):
        status, report = run_load("echo", at(20, "lose"), "--stall-seconds", "1")
        self.assertEqual((status, report["connections_lost"]), (1, 1))

    def test_a_repeated_answer_is_wrong(self):
        status, report = run_load("echo", at(20, "repeat"))
        self.assertEqual((status, report["answers_wrong"]), (1, 1))

    def test_a_forgotten_request_is_wrong(self):
        status, report = run_load("echo", at(20, "forget"))
        self.assertEqual(status, 1)
        self.assertGreater(report["answers_wrong"], 0)

    def test_a_pause_is_measured(self):
        status, report = run_load("echo", at(20, "pause"))
        self.assertEqual(status, 0)
        self.assertGreater(report["longest_gap_ms"], 490)
        self.assertLess(report["longest_gap_ms"], 900)
        gap = report["echo"]["gaps"]["long_gaps"][0]
        self.assertEqual(gap["gap_ms"], report["longest_gap_ms"])
        self.assertEqual(gap["resent"], 0)
        self.assertGreater(gap["end_s"] - gap["asked_s"], 0.49)
        self.assertLessEqual(gap["end_s"] - gap["asked_s"], gap["gap_ms"] / 1000)

    def test_a_report_tells_of_a_pause_that_goes_on(self):
        with Server(HANDLERS["echo"], lambda operation: "lose" if operation >= 20 else None) as server:
            port = str(server.server_address[1])
            command = [LOAD_CLIENT, "127.0.0.1", "--loads", "echo", "--echo-port", port, "--echo-pause", "500"]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as client:
                time.sleep(1.5)
                client.stdin.write("report\n")
                gaps = json.loads(client.stdout.readline())["echo"]["gaps"]
                client.kill()
        self.assertGreater(gaps["open_ms"], 500)
        self.assertEqual(gaps["long_gaps"], [])

    def test_a_lost_value_is_noticed(self):
        status, report = run_load("redis", lambda operation: "lose-value" if operation > 60 else None)
        self.assertEqual(status, 1)
        self.assertGreater(report["acknowledged_writes_lost"], 0)

    def test_a_lost_count_is_noticed(self):
        status, report = run_load("redis", at(100, "lose-count"))
        self.assertEqual(status, 1)
        self.assertGreater(report["acknowledged_writes_lost"], 0)

    def test_a_write_without_answer_may_be_done_or_not(self):
        status, report = run_load("redis", at(100, "close-done"))
        self.assertEqual((status, report["connections_lost"]), (1, 1))
        self.assertEqual(report["acknowledged_writes_lost"], 0)

    def test_changed_bytes_are_counted_one_by_one(self):
        status, report = run_load("http", at(2, "change"))
        self.assertEqual((status, report["bytes_wrong"]), (1, 2))

    def test_a_cut_download_is_a_lost_connection(self):
        status, report = run_load("http", at(2, "cut"))
        self.assertEqual((status, report["connections_lost"]), (1, 1))

    def test_no_service_at_all_is_no_success(self):
        with Server(EchoHandler, lambda operation: None) as server:
            port = str(server.server_address[1])
        command = [LOAD_CLIENT, "127.0.0.1", "--seconds", "2", "--loads", "echo", "--echo-port", port]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 1)


if __name__ == "__main__":
    unittest.main()
