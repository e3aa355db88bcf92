// SPDX-License-Identifier: Apache-2.0
// Guests of breakpoints_test.cc. They run in kernel mode, in user mode and as a program of the host.
#include "guest_code.inc"

    .set USER_STACK, 0x602000

// rbx: two pages of data, a breakpoint somewhere around rbx + 16. r8 to r10 are the trap handler's.
guest breakpoints
    mov rbp, rsp
    xorps xmm0, xmm0
again:
    xor eax, eax
    mov [rbx + 16], eax
    mov eax, [rbx + 16]
    mov [rbx + 20], eax
    mov [rbx + 24], eax
    mov [rbx + 13], eax
    movzx ecx, byte ptr [rbx + 19]
    add qword ptr [rbx + 8], 1
    lock xadd [rbx + 16], ecx
    mov rcx, [rbx + 11]
    lea rsp, [rbx + 24]
    push rax
    pop rax
    call 1f
    mov rsp, rbp
    jmp 2f
1:  ret
2:  movups [rbx + 8], xmm0
    movaps xmm1, [rbx + 16]
    movaps [rbx + 32], xmm1
    mov ecx, 140
    bts dword ptr [rbx], ecx
    lea rdi, [rbx]
    mov ecx, 40
    rep stosb
    lea rdi, [rbx + 64]
    lea rsi, [rbx]
    mov ecx, 20
    rep movsw
    mark breakpoints_strings
    lea rdi, [rbx + 15]
    movsd
    lea rsi, [rbx + 12]
    lodsq
    lea rsi, [rbx]
    lea rdi, [rbx + 64]
    mov ecx, 10
    repe cmpsd
    std
    lea rdi, [rbx + 32]
    mov ecx, 4
    mov eax, 77
    rep stosq
    cld
    mov al, 0
    lea r11, [rbx + 16]
    xchg rbx, r11
    xlatb
    xchg rbx, r11
    mark breakpoints_edge
    mov [rbx + 4092], rax
    mov ecx, [rbx + 4096]
    mov ecx, [rbx + 4088]
    mark breakpoints_loop
    mov ecx, 5
    mark breakpoints_body
3:  lea rax, 4f[rip]
    jmp rax
    nop
    mark breakpoints_target
4:  dec ecx
    jnz 3b
    mark breakpoints_last
    nop
    dec r12
    jnz again
    mark breakpoints_end
    int 0xff

// rdx: the user's code.
    mark breakpoints_user
    push 0x2b
    push USER_STACK
    push 0x2
    push 0x33
    push rdx
    iretq

// Notes where, why, and how much was left to do; goes on, at an instruction breakpoint (r10 has their bits) by RF.
    mark breakpoints_trap
    mov r9, [rsp]
    mov [r8], r9
    mov r9, dr6
    mov [r8 + 8], r9
    mov [r8 + 16], rcx
    mov r9, [rsp + 16]
    mov [r8 + 24], r9
    mov r9, [r8 + 8]
    add r8, 32
    test r9, r10
    jz 5f
    or dword ptr [rsp + 16], 0x10000
5:  xor r9d, r9d
    mov dr6, r9
    iretq
guest_end breakpoints

// The debug registers as instructions see them.
guest debug_registers
    lea rax, [rbx + 8]
    mov dr1, rax
    mov eax, 0x00d00008             // DR1, global: 4 bytes, writes
    mov dr7, rax
    mov [rbx + 8], eax
    mark registers_written
    mov rax, dr7
    or eax, 0x2000                  // general detect
    mov dr7, rax
    mark registers_detected
    mov rax, dr1
    mov r12, dr7
    mov ecx, 0x60
    mov dr0, rcx
    mov eax, 0x00020002             // DR0, global: a port, if CR4.DE
    mov dr7, rax
    in al, 0x60
    mov rax, cr4
    or eax, 8
    mov cr4, rax
    in al, 0x60
    mark registers_port
    in al, 0x61
    hlt
guest_end debug_registers
