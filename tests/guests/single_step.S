// SPDX-License-Identifier: Apache-2.0
// Guests of single_step_test.cc: the trap flag over every kind of branch, in kernel mode and in user mode.
#include "guest_code.inc"

    .set USER_STACK, 0x602000

// Twice around, so that what has been remembered the first time is used the second. The kernel's lies at CODE, the
// user's at a page of its own. rbx: data. r12: rounds. rdx: the trap flag, or zero.
    .macro branches
    jmp 1f
1:  call 2f
    lea rax, 3f[rip]
    jmp rax
2:  ret
3:  lea rax, 2b[rip]
    call rax
    mov [rbx], rax
    call [rbx]
    lea rax, 4f[rip]
    mov [rbx], rax
    jmp [rbx]
4:  push rax
    pop rax
    cmp eax, eax
    je 5f
    nop
5:  jne 5b
    mov ecx, 2
6:  loop 6b
    jrcxz 7f
7:  mov ecx, 3
    lea rsi, [rbx + 64]
    lea rdi, [rbx + 128]
    rep movsb
    int3
    int 0x90
    nop
    .endm

guest kernel_steps
    pushfq
    or [rsp], rdx
    popfq
    mark steps_of_kernel
kernel_round:
    branches
    mov eax, ss
    mov ss, eax
    nop
    push 0x18
    lea rax, [rsp + 8]
    push rax
    pushfq
    push 0x10
    lea rax, 8f[rip]
    push rax
    iretq
8:  add rsp, 8
    dec r12
    jnz kernel_round
    pushfq
    and qword ptr [rsp], ~0x100
    popfq
    mark steps_of_kernel_end
    nop
    hlt

// rbp: the user's code.
    mark user_steps_start
    push 0x2b
    push USER_STACK
    lea rax, [rdx + 2]
    push rax
    push 0x33
    push rbp
    iretq

    mark user_steps
    branches
    syscall
    nop
    dec r12
    jnz user_steps
    mark user_steps_end
    int 0xff

// Counts the traps in r8 and adds up where they were in r9.
    mark step_trap
    inc r8
    add r9, [rsp]
    rol r9, 1
    iretq
    mark step_other
    inc r10
    iretq
    mark step_system_call
    inc r13
    lea r11, [rdx + 2]
    sysretq
guest_end kernel_steps
