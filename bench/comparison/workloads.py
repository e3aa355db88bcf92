# SPDX-License-Identifier: Apache-2.0
"""What is run. A row of WORKLOADS is a workload; the scripts that some run in the guest are in bench/image/work.

The clock is always the host's. For work inside the guest it runs between two lines that the guest prints on its
console; clients outside have their own.
"""

import dataclasses
import json
import re
import time

from labkit.console import SHELL_PROMPT, ConsoleError


@dataclasses.dataclass
class Measured:
    """One run: `count` units of work in so many seconds."""

    count: float
    seconds: float
    checksum: str = ""
    cpu_seconds: float | None = None  # of the host's processors, spent by the guest's process or the native ones
    before: dict | None = None  # the log's state at the beginning, and at the end
    after: dict | None = None


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    suite: str  # "programs", "kernel" or "guest"
    what: str  # for people
    unit: str = ""  # what is counted; empty: the time itself is the figure


@dataclasses.dataclass(frozen=True)
class Boot(Workload):
    """From the start of the process that emulates the machine to the login prompt."""

    has_native = False

    def run(self, way, root, scale, timeout):
        way.stop()
        seconds = way.start()
        return Measured(1, seconds, cpu_seconds=way.cpu_seconds())


@dataclasses.dataclass(frozen=True)
class Inside(Workload):
    """A script of /opt/workloads, run in the guest: /opt/workloads/SCRIPT AMOUNT ARGUMENT."""

    script: str = ""
    amount: int = 100
    argument: str = ""
    has_native = True

    def command(self, scale):
        return f"/opt/workloads/{self.script} {scaled(self.amount, scale)} {self.argument}".rstrip()

    def run(self, way, root, scale, timeout):
        amount = scaled(self.amount, scale)
        console = way.console
        console.send(f"{self.command(scale)}; echo \"exit=\"$?=\r")
        expect(console, rb"(?:^|\n)begin \S+\n", timeout)
        start = time.monotonic()
        cpu_before = way.cpu_seconds()
        before = way.meter()
        expect(console, rb"(?:^|\n)end \S+\n", timeout)
        seconds = time.monotonic() - start
        cpu_seconds = way.cpu_seconds() - cpu_before
        after = way.meter()
        output = console.wait_for(rb"exit=\d+=\n", timeout).decode(errors="replace")
        console.wait_for(SHELL_PROMPT, 60)
        checksum = re.search(r"(?m)^checksum (\S+)$", output)
        if not checksum or "exit=0=" not in output:
            raise ConsoleError(f"the end of {self.name} went wrong: {output[-400:]}")
        if not cpu_seconds:
            cpu_seconds = sum(map(float, re.search(r"(?m)^cpu (\S+) (\S+)$", output).groups()))
        return Measured(amount, seconds, checksum.group(1), cpu_seconds, before, after)


@dataclasses.dataclass(frozen=True)
class Outside(Workload):
    """A server in the guest, and a client in the laboratory's client namespace."""

    server: str = ""
    client: object = None  # of address and amount: the client's command line
    parse: object = None  # of the client's output and the amount: units done and seconds
    amount: int = 100
    has_native = True

    def run(self, way, root, scale, timeout):
        self._server(way, "start")
        try:
            command = self.client(way.address, scaled(self.amount, scale))
            cpu_before = way.cpu_seconds()
            before = way.meter()
            count, seconds = self.parse(root.client(*command, timeout=timeout), scaled(self.amount, scale))
            return Measured(count, seconds, "", way.cpu_seconds() - cpu_before or None, before, way.meter())
        finally:
            self._server(way, "stop")

    def _server(self, way, action):
        output, status = way.console.run(f"/opt/workloads/server {self.server} {action}", 60)
        if status:
            raise ConsoleError(f"server {self.server} {action} ended with status {status}: {output[-400:]}")
        time.sleep(0.5)


def scaled(amount, scale):
    return max(1, amount * scale // 100)


def expect(console, pattern, timeout):
    """Waits for the pattern, but not past the end of the command."""
    seen = console.wait_for(rb"(?:" + pattern + rb")|exit=\d+=\n", timeout)
    if re.search(rb"exit=\d+=\n$", seen):
        console.wait_for(SHELL_PROMPT, 60)
        raise ConsoleError(f"the workload failed: {seen[-400:].decode(errors='replace')}")


# Clients ---------------------------------------------------------------------------------------------------


def redis_benchmark(address, requests):
    return ["redis-benchmark", "-h", address, "-p", 6380, "-n", requests, "-c", 20, "-t", "set,get", "--csv"]


def parse_redis(output, requests):
    rows = re.findall(r'^"(?:SET|GET)","([\d.]+)"', output, re.M)
    if len(rows) != 2:
        raise ConsoleError(f"redis-benchmark said: {output[-400:]}")
    return 2 * requests, sum(requests / float(rate) for rate in rows)


def wrk(address, seconds):
    return ["wrk", "-t", 1, "-c", 20, "-d", seconds, f"http://{address}:8080/4k"]


def parse_wrk(output, _):
    done = re.search(r"(\d+) requests in ([\d.]+)s", output)
    if not done or "Socket errors" in output or "Non-2xx" in output:
        raise ConsoleError(f"wrk said: {output[-400:]}")
    return int(done.group(1)), float(done.group(2))


def iperf(*options):
    return lambda address, seconds: ["iperf3", "--client", address, "--json", "--time", seconds, *options]


def parse_iperf(output, _):
    received = json.loads(output)["end"]["sum_received"]
    return received["bytes"] / 1e6, received["seconds"]


# The table -------------------------------------------------------------------------------------------------

C_PROGRAMS = {
    "chase": "dependent loads",
    "compress": "bytes, overlapping copies",
    "crc": "dependent loads from a table",
    "fib": "calls and returns",
    "hashtable": "chained hash table",
    "interp": "switch bytecode: indirect jumps",
    "matmul": "SSE2, packed",
    "nbody": "SSE2, scalar",
    "sha256": "integer arithmetic in registers",
    "sieve": "byte stores",
    "sort": "branches that depend on data",
    "stream": "SSE2, memory",
    "strhash": "bytes of strings",
    "tree": "pointers, recursion",
    "virtual": "indirect calls",
}

PROGRAMS = [
    *(Inside(name, "programs", what, script="program", argument=name) for name, what in C_PROGRAMS.items()),
    Inside("zstd", "programs", "compresses text", "KiB", script="zstd", amount=16384),
    Inside("sqlite", "programs", "SQL in memory", "order", script="sqlite", amount=100000),
    Inside("openssl-sha256", "programs", "libcrypto's hash", "MiB", script="openssl_sha256", amount=800),
    Inside("openssl-rsa", "programs", "libcrypto's RSA, 2048 bits", "signature", script="openssl_rsa", amount=1600),
    Inside("python", "programs", "loops in Python", "round", script="python", amount=30),
    Inside("gcc", "programs", "gcc -O2, one large file", "function", script="gcc", amount=60),
]

# Not work that anyone wants done, but what the work of the whole guest is made of.
KERNEL = [
    Inside(f"{name}-path", "kernel", what, name, script="path", amount=amount, argument=name)
    for name, amount, what in (
        ("call", 500000, "system calls that do nothing"),
        ("pipe", 100000, "a write to a pipe and a read, in one process"),
        ("switch", 20000, "a number to another process and back"),
        ("fault", 100000, "page faults of fresh memory"),
        ("fork", 300, "fork, a quarter of 4 MiB written, exit"),
        ("exec", 300, "fork, exec of /bin/true, exit"),
        ("signal", 100000, "signals with a handler"),
        ("sleep", 2000, "sleeps of 50 microseconds"),
        ("clock", 3000000, "looks at the clock"),
    )
]

GUEST = [
    Boot("boot", "guest", "from the start to the login prompt"),
    Inside("fork", "guest", "a shell script that starts programs", "round", script="fork", amount=100),
    Inside("make", "guest", "make and gcc build a C project", "file", script="make", amount=12),
    Inside("pgbench", "guest", "TPC-B on PostgreSQL", "transaction", script="pgbench", amount=2000),
    Outside("redis", "guest", "redis-benchmark from outside, GET and SET", "request",
            server="redis", client=redis_benchmark, parse=parse_redis, amount=20000),
    Outside("nginx", "guest", "wrk from outside, 4 KiB a page", "request",
            server="nginx", client=wrk, parse=parse_wrk, amount=3),
    Inside("jvm", "guest", "a wholesaler's transactions in Java", "1000 transactions", script="jvm", amount=400),
    Inside("fio", "guest", "random 4 KiB reads and writes", "MiB", script="fio", amount=96),
    Outside("iperf-receive", "guest", "a TCP stream into the guest", "MB",
            server="iperf", client=iperf(), parse=parse_iperf, amount=3),
    Outside("iperf-send", "guest", "a TCP stream out of the guest", "MB",
            server="iperf", client=iperf("--reverse"), parse=parse_iperf, amount=3),
]  # fmt: skip

WORKLOADS = {workload.name: workload for workload in PROGRAMS + KERNEL + GUEST}
