// SPDX-License-Identifier: Apache-2.0
// Guests of privilege_test.cc. The kernel part enters the user part at CODE_USER (mapped user-readable there).
#include "guest_code.inc"

    .set CODE_USER, 0x400000
    .set USER_STACK, 0x602000

// rsi: offset of the user part. Sets up SYSCALL and goes to user mode by IRET, then by SYSRET each time.
guest system_calls
    mov ecx, 0xc0000081           // STAR: user 0x23 (SS 0x2b, CS 0x33), kernel 0x10
    mov edx, 0x00230010
    xor eax, eax
    wrmsr
    mov ecx, 0xc0000082           // LSTAR
    lea rax, entry[rip]
    mov rdx, rax
    shr rdx, 32
    wrmsr
    mov ecx, 0xc0000084           // SFMASK: IF, TF, DF
    mov eax, 0x700
    xor edx, edx
    wrmsr
    mov ecx, 0xc0000102           // KERNEL_GS_BASE
    mov eax, 0x11223344
    wrmsr
    mov ecx, 0xc0000101           // GS_BASE
    mov eax, 0x55667788
    wrmsr
    mov rdi, rsp
    push 0x2b
    push USER_STACK
    push 0x202
    push 0x33
    lea rax, [rsi + CODE_USER]
    push rax
    iretq
entry:
    mov r8, rsp
    mov r9, cs
    mov r10, ss
    swapgs
    rdgsbase r12
    swapgs
    rdgsbase r13
    pushfq
    pop r14
    inc rbx
    cmp rbx, 3
    je 1f
    sysretq
1:  mov rax, cs
    hlt
    mark system_calls_user
    mov eax, 0x12345678
    std
    syscall
    mov rbp, rcx
    cld
2:  syscall
    jmp 2b
guest_end system_calls

// What user code may not do; each attempt ends in an exception, and the handler resumes at the next one.
guest user_limits
    push 0x2b
    push USER_STACK
    push 0x202
    push 0x33
    lea rax, [rsi + CODE_USER]
    push rax
    iretq
    mark user_limits_user
    mark limit_hlt
    hlt
    mark limit_cr3
    mov rax, cr3
    mark limit_in
    in al, 0x60
    mark limit_wrmsr
    wrmsr
    mark limit_lgdt
    lgdt [rsp]
    mark limit_kernel_read
    mov rax, [rdi]
    mark limit_kernel_write
    mov [rdi], rax
    mark limit_interrupt_gate
    int 0x20
    mark limit_cli
    cli
    mark limit_end
    pushfq
    pop r9
    or r9, 0x3000
    push r9
    popfq                         // IOPL can't be raised, silently
    pushfq
    pop r10
    int 0xff
guest_end user_limits

// Code of privilege level 1 or 2 that tries what level 0 may. rdi, rsi: its CS and SS; rbx: its RFLAGS. The handler
// resumes behind each attempt.
    .macro attempt name, instruction:vararg
    resume_at 8f
    mark \name
    \instruction
8:
    .endm
guest middle_levels
    mov rax, cr4
    or rax, 4                     // TSD
    mov cr4, rax
    mov rax, rsp
    push rsi
    push rax
    push rbx
    push rdi
    lea rax, 1f[rip]
    push rax
    iretq
1:  attempt middle_cli, cli
    attempt middle_sti, sti
    pushfq
    pop r13
    attempt middle_swapgs, swapgs
    attempt middle_rdtsc, rdtsc
    attempt middle_rdtscp, rdtscp
    attempt middle_read, mov rax, cr3
    attempt middle_write, mov cr3, rax
    attempt middle_debug, mov rax, dr7
    attempt middle_rdmsr, rdmsr
    attempt middle_sysret, sysretq
    attempt middle_invlpg, invlpg [rsp]
    attempt middle_clts, clts
    attempt middle_wbinvd, wbinvd
    attempt middle_hlt, hlt
    int 0xff
guest_end middle_levels
