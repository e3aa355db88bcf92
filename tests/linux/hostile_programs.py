#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs of an ordinary user in a protected stock guest that do what no compiler makes: hints on addresses across
pages, system calls by every way under single step, instructions that can't be. After each the guest, its VM and its
backup are well, and the program has ended as it does on a bare CPU.

    hostile_programs.py [--only NAME...] [--rounds N] [--lab NAME]

The logs of the processes are kept in build/hostile_programs.
"""

import argparse
import base64
import pathlib
import re
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
from labkit import fresh_logs  # noqa: E402
from labkit.console import ConsoleError  # noqa: E402
from labkit.lab import Lab  # noqa: E402
from labkit.pair import PATIENT, Pair, other  # noqa: E402

BOOT_TIMEOUT = 600
PROTECT_TIMEOUT = 120
PROGRAM_TIMEOUT = 120
HOST = "a"
TROUBLE = re.compile(r"BUG:|Oops|panic|WARNING:|double fault|stack guard|soft lockup|Call Trace")

# Each ends with `exit`, whose status is what the bare CPU makes it: 0 where the assembly doesn't say otherwise.
# `in_children`: what follows it runs in 100 children, which may die as they like.
PRELUDE = """
    .intel_syntax noprefix
    .bss
    .balign 4096
pages: .skip 8192
    .text
    .globl _start
    .macro exit status
    mov edi, \\status
    mov eax, 60
    syscall
    .endm
    .macro in_children
    mov ebx, 100
1:  mov eax, 57
    syscall
    test eax, eax
    jz 2f
    mov edi, -1
    xor esi, esi
    xor edx, edx
    xor r10d, r10d
    mov eax, 61
    syscall
    dec ebx
    jnz 1b
    exit 0
2:
    .endm
    .macro step_from_here
    pushfq
    or qword ptr [rsp], 0x100
    popfq
    .endm
_start:
"""

PROGRAMS = {
    # BNDSTX, BNDLDX, BNDMOV both ways, BNDCL, BNDCU, BNDCN, BNDMK, CLDEMOTE, and a NOP, across two pages.
    "hints_across_pages": """
    mov ebx, 1000
1:  lea rcx, pages[rip + 4096 - 3]
    lea rsi, pages[rip + 4096 - 3]
    lea rax, pages[rip]
    sub rsi, rax
    sub rcx, rsi
    .byte 0x0f, 0x1b, 0x04, 0x0e
    .byte 0x0f, 0x1a, 0x04, 0x0e
    .byte 0x66, 0x0f, 0x1a, 0x04, 0x0e
    .byte 0x66, 0x0f, 0x1b, 0x04, 0x0e
    .byte 0xf3, 0x0f, 0x1a, 0x04, 0x0e
    .byte 0xf2, 0x0f, 0x1a, 0x04, 0x0e
    .byte 0xf2, 0x0f, 0x1b, 0x04, 0x0e
    .byte 0xf3, 0x0f, 0x1b, 0x04, 0x0e
    .byte 0x0f, 0x1c, 0x04, 0x0e
    .byte 0x0f, 0x1f, 0x04, 0x0e
    dec ebx
    jnz 1b
    exit 0
""",
    "sysenter_under_single_step": "in_children\n" + "step_from_here\n sysenter\n" * 4 + "exit 0\n",
    "syscall_under_single_step": "in_children\n step_from_here\n mov eax, 39\n syscall\n exit 0\n",
    "int80_under_single_step": "in_children\n step_from_here\n mov eax, 20\n int 0x80\n exit 0\n",
    "jump_to_no_address": "in_children\n mov rax, 0x8000000000000000\n jmp rax\n",
    "return_to_no_address": "in_children\n mov rax, 0x8000000000000000\n push rax\n ret\n",
    "sixteen_bytes": "in_children\n .fill 15, 1, 0x66\n nop\n",
    # A load faults behind an addition whose flags (AF ZF PF CF) the next instruction overwrites unread. The handler
    # of SIGSEGV looks at the flags in the signal's frame: ucontext + 40 + 17 * 8.
    "flags_at_a_fault": """
    mov edi, 11
    lea rsi, action[rip]
    xor edx, edx
    mov r10d, 8
    mov eax, 13
    syscall
    mov r8d, 300
1:  mov eax, 1
    add eax, -1
    mov rcx, [r9]
resumed:
    xor eax, eax
    dec r8d
    jnz 1b
    exit 0
handler:
    mov eax, [rdx + 176]
    and eax, 0x8d5
    cmp eax, 0x55
    jne 2f
    lea rax, resumed[rip]
    mov [rdx + 168], rax
    ret
2:  exit 1
restorer:
    mov eax, 15
    syscall
    .data
action: .quad handler, 0x44000004, restorer, 0
""",
}


class HostileError(Exception):
    """Something is not as it must be behind a program."""


def require(condition, sentence):
    if not condition:
        raise HostileError(sentence)


def assembled(text):
    """A small static ELF program of the assembly text, as bytes."""
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "program"
        command = ["gcc", "-nostdlib", "-static", "-s", "-Wl,-n,--build-id=none,--no-warn-rwx-segments",
                   "-x", "assembler", "-o", program, "-"]  # fmt: skip
        subprocess.run(command, input=PRELUDE + text, text=True, check=True)
        return program.read_bytes()


class Guest:
    """The protected guest, and root's shell on its console."""

    def __init__(self, pair):
        self.pair = pair
        self.console, self.carrier = pair.console(HOST)
        self.console.send("\r")
        self.console.wait_for_login(120)
        self.console.login(120)
        self.processes = self._processes()

    def _processes(self):
        return {host: self.pair.process(host) for host in (HOST, other(HOST))}

    def copy(self, name, program):
        text = base64.b64encode(program).decode()
        self._run(f"rm -f /tmp/{name} /tmp/text")
        for at in range(0, len(text), 1000):
            self._run(f"printf %s {text[at:at + 1000]} >> /tmp/text")
        self._run(f"base64 -d /tmp/text > /tmp/{name} && chmod 755 /tmp/{name} && dmesg --clear")

    def _run(self, command):
        output, status = self.console.run(command, 60)
        require(status == 0, f"{command[:60]} in the guest ended with {status}: {output}")
        return output

    def run_as_nobody(self, name):
        command = f"setpriv --reuid=nobody --regid=nogroup --clear-groups --no-new-privs /tmp/{name}"
        output, status = self.console.run(command, PROGRAM_TIMEOUT)
        require(status == 0, f"{name} ended with {status}: {output}")

    def require_well(self, name):
        require(self._processes() == self.processes, f"after {name} a VM's process has ended")
        messages = self._run("dmesg")
        require(not TROUBLE.search(messages), f"after {name} the guest's kernel says: {messages[-1500:]}")
        status = self.pair.status(HOST)
        require(status and status["protected"], f"after {name} the guest isn't protected: {status}")
        require(self.pair.divergences() == 0, f"after {name} the two sides differ")


def run(pair, names, rounds):
    guest = Guest(pair)
    try:
        for name in names:
            guest.copy(name, assembled(PROGRAMS[name]))
            for _ in range(rounds):
                guest.run_as_nobody(name)
                guest.require_well(name)
            print(f"{name}: good", flush=True)
    finally:
        guest.carrier.kill()
        guest.carrier.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--rounds", type=int, default=3, help="how often each program is run (3)")
    parser.add_argument("--lab", default="hostile", help="name of the network laboratory")
    arguments = parser.parse_args()
    logs = fresh_logs("hostile_programs")
    good = True
    with Lab(arguments.lab) as lab:
        pair = Pair(lab, protection=PATIENT)
        try:
            pair.start_daemons()
            pair.start_vm(HOST)
            pair.wait_for_guest(BOOT_TIMEOUT)
            pair.wait_protected(HOST, PROTECT_TIMEOUT)
            run(pair, arguments.only, arguments.rounds)
        except (HostileError, ConsoleError, RuntimeError) as error:
            print(f"FAILED: {error}")
            good = False
        finally:
            pair.keep_logs(logs)
            pair.end_processes()
    print(f"{'good' if good else 'NOT GOOD'}; the logs are in {logs}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
