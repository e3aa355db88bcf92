# SPDX-License-Identifier: Apache-2.0
"""The API from outside: what it answers, to whom, and that it answers what its document says."""

import base64
import json
import os
import re
import resource
import socket
import ssl
import sys
import time
import unittest

from api_lab import ApiLab

ApiLab.PROGRAM = sys.argv.pop(1)
COUNTING = re.compile(rb"\d+\n")


class Address(ApiLab):
    def test_it_is_that_of_the_hosts_configuration(self):
        none = self.run_command("api", "--insecure")
        self.assertEqual(none.returncode, 2)
        self.assertIn("host.toml", none.stderr)
        (self.folder / "host.toml").write_text('[api]\nlisten = "127.0.0.1:0"\n')
        self.find_api(self.start("api", "api", "--insecure"))
        self.assertEqual(self.ask("GET", "/v1/vms"), (200, {"vms": []}))


class Answers(ApiLab):
    def setUp(self):
        super().setUp()
        self.start_vm()
        self.start_api()

    def test_what_is_there(self):
        status, me = self.ask("GET", "/v1/me")
        self.assertEqual((status, me["role"]), (200, "admin"))
        status, vms = self.ask("GET", "/v1/vms")
        self.assertEqual([vm["name"] for vm in vms["vms"]], ["toy"])
        status, vm = self.ask("GET", "/v1/vms/toy")
        self.assertEqual((status, vm["role"], vm["state"]), (200, "solo", "Solo"))
        self.assertEqual(set(vm), set(json.loads(self.run_command("status", "toy", "--json").stdout)), "the API's object is --json's")
        status, hosts = self.ask("GET", "/v1/hosts")
        self.assertEqual(hosts["hosts"][0]["vms"], [{"name": "toy", "role": "solo"}])
        self.assertEqual(self.ask("GET", "/v1/tasks"), (200, {"tasks": []}))

    def test_actions_say_whether_they_are_possible(self):
        actions = {action["name"]: action for action in self.ask("GET", "/v1/vms/toy/actions")[1]["actions"]}
        self.assertFalse(actions["failover"]["possible"])
        self.assertIn("Solo", actions["failover"]["why_not"])
        self.assertEqual(actions["failover"]["arguments"][0]["choices"], ["planned", "crash"])
        self.assertTrue(actions["reset"]["possible"])
        self.assertEqual(actions["reset"]["why_not"], "")

    def test_an_action_is_carried_out(self):
        record = str(self.folder / "toy.log.rec")
        path = "/v1/vms/toy/actions/"
        status, answer = self.ask("POST", path + "record-start", {"path": record})
        self.assertEqual((status, answer), (200, {"done": f"VM toy is recorded to {record}"}))
        self.wait_for("it is recorded", lambda: self.ask("GET", "/v1/vms/toy")[1]["recording"] == record)
        self.assertEqual(self.ask("POST", path + "record-stop", {})[0], 200)
        self.assertTrue(os.path.exists(record))
        status, answer = self.ask("POST", path + "poweroff")
        self.assertEqual((status, list(answer)), (200, ["done"]))
        self.wait_for("it is off", lambda: self.ask("GET", "/v1/vms")[1]["vms"] == [])
        self.assertIn("anyone (admin) asks VM toy for poweroff", (self.folder / "api.log").read_text())

    def test_what_is_wrong_has_a_code(self):
        path = "/v1/vms/toy/actions/"
        for method, where, body, headers, status, code in [
            ("GET", "/v1/nothing", None, {}, 404, "not-found"),
            ("GET", "/v1/vms/..%2ftoy", None, {}, 404, "no-such-vm"),
            ("GET", "/v1/vms/other", None, {}, 404, "no-such-vm"),
            ("DELETE", "/v1/vms/toy", None, {}, 405, "wrong-method"),
            ("POST", path + "explode", {}, {}, 404, "unknown-action"),
            ("POST", path + "failover", {}, {}, 409, "not-now"),
            ("POST", path + "failover", {"how": "soon"}, {}, 400, "bad-argument"),
            ("POST", path + "reset", {"how": "soon"}, {}, 400, "bad-argument"),
            ("POST", path + "reset", [], {}, 400, "bad-request"),
            ("POST", path + "reset", {}, {"Content-Type": "text/plain"}, 400, "bad-request"),
            ("POST", path + "reset", {}, {"Origin": "https://elsewhere"}, 403, "not-permitted"),
            ("POST", path + "protect", {}, {}, 422, "failed"),
            ("GET", "/v1/vms/toy/console", None, {}, 400, "bad-request"),
        ]:
            with self.subTest(where=where, body=str(body)[:20]):
                got, problem = self.ask(method, where, body, headers=headers)
                self.assertEqual((got, problem["code"]), (status, code), problem)
                self.assertTrue(problem["detail"])

    def test_a_connection_serves_many_requests(self):
        connection = self.connect()
        for _ in range(50):
            connection.request("GET", "/v1/me")
            answer = connection.getresponse()
            answer.read()
            self.assertEqual(answer.status, 200)
        self.assertIn("default-src 'none'", answer.getheader("Content-Security-Policy"))

    def test_the_document_tells_what_is_answered(self):
        document = self.ask("GET", "/v1/openapi.json")[1]
        self.assertTrue(document["openapi"].startswith("3.1"))
        operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
        self.assertEqual(len(operations), len(set(operations)))
        types = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list}
        for path, list_of in [("/v1/me", None), ("/v1/vms", "vms"), ("/v1/vms/{vm}", None), ("/v1/hosts", "hosts"), ("/v1/vms/{vm}/actions", "actions")]:
            schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            answer = self.ask("GET", path.replace("{vm}", "toy"))[1]
            if list_of:
                schema, answer = schema["properties"][list_of]["items"], answer[list_of][0]
            self.assertEqual(set(schema["properties"]), set(answer), path)
            for name, value in answer.items():
                wanted = schema["properties"][name]["type"]
                if isinstance(wanted, str):
                    self.assertIsInstance(value, types[wanted], f"{path} {name}")
        problem = document["components"]["schemas"]["Problem"]
        self.assertLessEqual(set(problem["required"]), set(self.ask("GET", "/v1/nothing")[1]))
        self.assertIn("/v1/vms/{vm}/actions/failover", document["paths"])

    def test_the_page_asks_for_nothing_that_is_not_there(self):
        asked, todo = {}, ["/"]
        while todo:
            path = todo.pop()
            connection = self.connect()
            self.addCleanup(connection.close)
            connection.request("GET", path)
            answer = connection.getresponse()
            self.assertEqual(answer.status, 200, path)
            asked[path] = answer.read().decode()
            self.assertNotRegex(asked[path], r'(src|href)="https?:|from "https?:', "nothing comes from elsewhere")
            self.assertNotRegex(asked[path], r' on[a-z]+="| style="|<style|<script>', "the content policy forbids it")
            names = re.findall(r'(?:src|href)="(/[^"#]+)"', asked[path]) + ["/page/" + name for name in re.findall(r'from "\./([^"]+)"', asked[path])]
            todo += [name for name in names if name not in asked and name not in todo]
        page = os.path.join(os.path.dirname(__file__), "../../src/api/page")
        self.assertEqual(len(asked), len(os.listdir(page)), asked.keys())

    def test_the_manual_names_every_path(self):
        manual = (os.path.join(os.path.dirname(__file__), "../../docs/api.md"))
        with open(manual) as file:
            text = file.read()
        for path in self.ask("GET", "/v1/openapi.json")[1]["paths"]:
            path = re.sub(r"/actions/.*", "/actions/{action}", path)
            self.assertIn(f"`{path}`", text)


class Events(ApiLab):
    def setUp(self):
        super().setUp()
        self.start_api()

    def listen(self):
        connection = self.connect()
        self.addCleanup(connection.close)
        connection.request("GET", "/v1/events")
        answer = connection.getresponse()
        self.assertEqual(answer.getheader("Content-Type"), "text/event-stream")
        return answer

    @staticmethod
    def next_event(answer):
        lines = []
        while (line := answer.readline().decode().rstrip("\n")) != "":
            lines.append(line.split(": ", 1))
        event = dict(lines)
        return int(event["id"]), event["event"], json.loads(event["data"])

    def test_first_the_state_then_changes(self):
        answer = self.listen()
        number, kind, state = self.next_event(answer)
        self.assertEqual((kind, state["vms"]), ("state", []))
        vm = self.start_vm()
        kinds = {}
        while "change" not in kinds or "vm" not in kinds:
            last, number = number, None
            number, kind, data = self.next_event(answer)
            self.assertGreater(number, last)
            kinds[kind] = data
        self.assertEqual(kinds["vm"]["name"], "toy")
        self.assertNotIn("engine", kinds["vm"])
        self.assertEqual(kinds["change"]["vm"], "toy")
        _, kind, state = self.next_event(self.listen())
        self.assertEqual((kind, state["vms"][0]["name"]), ("state", "toy"))
        self.assertTrue(state["changes"])
        vm.kill()
        vm.wait()
        while kind != "gone":
            _, kind, data = self.next_event(answer)
        self.assertEqual(data, {"name": "toy"})

    def test_listeners_are_bounded(self):
        answers = []
        for _ in range(101):
            connection = self.connect()
            self.addCleanup(connection.close)
            connection.request("GET", "/v1/events")
            answers.append(connection.getresponse())
        self.assertEqual([answer.status for answer in answers[:-1]], [200] * 100)
        self.assertEqual(answers[-1].status, 503)


class WebSocketClient:
    """As much of one as the test needs."""

    def __init__(self, sock, path, **headers):
        self.socket = sock
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", "Host: test", "Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        self.status = int(head.split()[1])

    def more(self):
        got = self.socket.recv(65536)
        if not got:
            raise EOFError
        self.buffer += got

    def take(self, size):
        while len(self.buffer) < size:
            self.more()
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def receive(self):
        first, size = self.take(2)
        if size == 126:
            size = int.from_bytes(self.take(2), "big")
        return first & 15, self.take(size)

    def send(self, text, opcode=2):
        mask = os.urandom(4)
        self.socket.sendall(bytes([0x80 | opcode, 0x80 | len(text)]) + mask + bytes(c ^ mask[i % 4] for i, c in enumerate(text)))


class Console(ApiLab):
    def setUp(self):
        super().setUp()
        self.start_vm()
        self.start_api()

    def attach(self, **headers):
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.addCleanup(sock.close)
        return WebSocketClient(sock, "/v1/vms/toy/console", **headers)

    def wait_for_text(self, console, wanted):
        text = b""
        while not re.search(wanted, text):
            opcode, content = console.receive()
            self.assertEqual(opcode, 2)
            text = text[-100:] + content

    def test_shows_what_is_printed_and_takes_what_is_typed(self):
        one, two = self.attach(), self.attach()
        self.assertEqual(one.status, 101)
        for console in (one, two):
            self.wait_for_text(console, COUNTING)
        one.send(b"hello")
        for console in (one, two):
            self.wait_for_text(console, b"hello")
        one.send(b"", opcode=8)
        with self.assertRaises(EOFError):
            while True:
                one.receive()
        self.wait_for_text(two, COUNTING)

    def test_a_foreign_page_is_refused(self):
        self.assertEqual(self.attach(Origin="https://elsewhere").status, 403)
        self.assertEqual(self.attach(Origin="https://test").status, 101)

    def test_one_who_does_not_read_harms_nobody(self):
        lazy = self.attach()
        other = self.attach()
        for _ in range(3):
            self.wait_for_text(other, COUNTING)
        self.assertEqual(self.ask("GET", "/v1/vms/toy")[0], 200)
        lazy.socket.close()


class Bounds(ApiLab):
    def test_idle_connections_cost_little_and_make_room(self):
        api = self.start_api()
        self.assertEqual(self.ask("GET", "/v1/me")[0], 200)

        def memory_mib():
            with open(f"/proc/{api.pid}/status") as file:
                return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        before = memory_mib()
        idle = []
        for _ in range(1500):
            sock = socket.create_connection(("127.0.0.1", self.port), timeout=60)
            sock.sendall(b"GET /v1/me HTTP/1.1\r\n\r\n")
            self.assertTrue(sock.recv(1000).startswith(b"HTTP/1.1 200 OK"))
            idle.append(sock)
        self.assertLess(memory_mib() - before, 60)
        self.assertEqual(len(os.listdir(f"/proc/{api.pid}/fd")) // 100, 10, "of 1500 some 1000 are left")
        self.assertEqual(self.ask("GET", "/v1/me")[0], 200, "a new one is served all the same")
        for sock in idle:
            sock.close()

    def test_a_long_request_is_refused_at_its_head(self):
        self.start_api()
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.addCleanup(sock.close)
        sock.sendall(b"POST /v1/vms/toy/actions/reset HTTP/1.1\r\nContent-Length: 70000\r\n\r\n")
        self.assertTrue(sock.recv(1000).startswith(b"HTTP/1.1 413 "))

    def test_many_requests_at_once(self):
        self.start_api()
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.addCleanup(sock.close)
        sock.sendall(b"GET /v1/me HTTP/1.1\r\n\r\n" * 1999 + b"GET /v1/me HTTP/1.1\r\nConnection: close\r\n\r\n")
        answers = b""
        while got := sock.recv(1 << 20):
            answers += got
        self.assertEqual(answers.count(b"HTTP/1.1 200 OK"), 2000)

    def test_half_a_request_is_not_waited_for_for_ever(self):
        self.start_api()
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.addCleanup(sock.close)
        sock.sendall(b"GET /v1/me HT")
        self.assertEqual(sock.recv(100), b"", "it is closed")


class People(ApiLab):
    INSECURE = False

    def setUp(self):
        super().setUp()
        done = self.run_command("cluster", "init", "--name", "host-a", "--address", "127.0.0.1:1")
        self.assertEqual(done.returncode, 0, done)
        for role in ("viewer", "operator", "admin"):
            done = self.run_command("cluster", "user", role + "-1", "--role", role, "--out", self.folder, "--json")
            self.assertEqual(json.loads(done.stdout)["role"], role)
        self.start_vm()
        self.start_api()

    def test_each_role_may_what_the_table_says(self):
        path = "/v1/vms/toy/actions/"
        self.assertEqual(self.ask("GET", "/v1/me", person="viewer-1")[1], {"name": "viewer-1", "role": "viewer", "host": "host-a"})
        self.assertEqual(self.ask("GET", "/v1/vms/toy", person="viewer-1")[0], 200)
        status, problem = self.ask("POST", path + "reset", {}, person="viewer-1")
        self.assertEqual((status, problem["code"]), (403, "not-permitted"))
        self.assertIn("needs the role operator", problem["detail"])
        self.assertIn("--role operator", problem["remedy"])
        status, problem = self.ask("GET", "/v1/vms/toy/console", person="viewer-1")
        self.assertIn("needs the role operator", problem["detail"])
        self.assertEqual(self.ask("POST", path + "reset", {}, person="operator-1")[0], 200)
        record = {"path": str(self.folder / "x")}
        self.assertIn("needs the role admin", self.ask("POST", path + "record-start", record, person="operator-1")[1]["detail"])
        self.assertEqual(self.ask("POST", path + "record-start", record, person="admin-1")[0], 200)
        actions = {action["name"]: action for action in self.ask("GET", "/v1/vms/toy/actions", person="viewer-1")[1]["actions"]}
        self.assertIn("needs the role operator", actions["reset"]["why_not"])

    def test_who_has_no_certificate_gets_nothing(self):
        with self.assertRaises((ssl.SSLError, OSError)):
            self.ask("GET", "/v1/me")
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.addCleanup(plain.close)
        plain.sendall(b"GET /v1/vms HTTP/1.1\r\n\r\n")
        try:
            self.assertNotIn(b"HTTP", plain.recv(1000))
        except ConnectionResetError:
            pass
        self.wait_for("it is said", lambda: "127.0.0.1 isn't let in" in (self.folder / "api.log").read_text())

    def test_who_is_removed_is_out_at_the_next_connection(self):
        self.assertEqual(self.ask("GET", "/v1/me", person="viewer-1")[0], 200)
        self.assertEqual(self.run_command("cluster", "remove", "user/viewer-1").returncode, 0)
        with self.assertRaises((ssl.SSLError, OSError)):
            self.ask("GET", "/v1/me", person="viewer-1")
        self.assertEqual(self.ask("GET", "/v1/me", person="operator-1")[0], 200)

    def test_older_tls_is_refused(self):
        context = ssl.create_default_context(cafile=str(self.folder / "cluster/authority.crt"))
        context.check_hostname = False
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with self.assertRaises((ssl.SSLError, OSError)):
            context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=60)).recv(1)


if __name__ == "__main__":
    unittest.main()
