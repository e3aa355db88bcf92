// SPDX-License-Identifier: Apache-2.0
// A guest that stands where a Linux kernel's 64-bit entry point is. Something in it writes where it shouldn't; it finds
// that out much later, and "panics".

    .intel_syntax noprefix
    .text
    .set ROUNDS, 30000
    .set WRONG_ROUND, 11111

    .globl _start, work, corrupt, panic, victim, neighbour, rounds
_start:
    lea rsp, stack_end[rip]
    xor ebx, ebx
again:
    call work
    cmp ebx, WRONG_ROUND
    jne 1f
    call corrupt
1:  inc ebx
    cmp ebx, ROUNDS
    jne again
    mov rax, victim[rip]
    cmp eax, 0x55667788
    jne panic
    jmp off

// Writes near the victim all the time.
work:
    push rbx
    inc qword ptr rounds[rip]
    imul rax, rbx, 77
    mov neighbour[rip], rax
    pop rbx
    ret

corrupt:
    lea rdi, victim[rip - 8]
    mov eax, 7
    mov ecx, 2
    rep stosq
    ret

panic:
    mov dx, 0x3f8
    mov al, '!'
    out dx, al
off:
    mov dx, 0x604
    mov ax, 0x3400
    out dx, ax
2:  jmp 2b

    .data
    .balign 4096
neighbour: .quad 0
before: .quad 0
victim: .quad 0x1122334455667788
rounds: .quad 0
    .balign 4096
    .skip 4096
stack_end:
    .quad 0
