// SPDX-License-Identifier: Apache-2.0
// Guests of stop_storm_test.cc: loops without end, in which something is delivered every few instructions.
#include "guest_code.inc"

    .set USER_STACK, 0x602000

// rbx: an address that isn't mapped. rbp: a device. rdi: data. rsi: the user part. r15: where a fault goes on.
guest storm
    lea r15, 1f[rip]
    ud2
1:  lea r15, 1f[rip]
    mov ecx, [rbx]
1:  lea r15, 1f[rip]
    mov rcx, 0x1000000000000000
    mov eax, [rcx]
1:  lea r15, 1f[rip]
    xor ecx, ecx
    div ecx
1:  int 0x90
    int3
    pushfq
    or qword ptr [rsp], 0x100
    popfq
    add eax, 7
    call step
    rep movsb
    pushfq
    and qword ptr [rsp], ~0x100
    popfq
    mov eax, [rbp]
    mov [rbp + 8], ecx
    in al, 0x60
    rdtsc
    xor r8, rax
    inc byte ptr patched[rip + 3]
patched:
    add r9, 1
    mov ecx, 3
    rep stosb
    lea rdi, [rdi - 3]
    sti
    nop
    cli
    push 0x2b
    push USER_STACK
    push 0x202
    push 0x33
    push rsi
    iretq
    mark storm_system_call
    add r10, rcx
    mov ecx, 0
    jmp guest_storm

step:
    xor ecx, ecx
    cmp eax, ecx
    jne 1f
    nop
1:  lea rdx, 1f[rip]
    jmp rdx
1:  ret

    mark storm_user
    add r10, 1
    push r10
    pop rcx
    int 0x90
    lea r15, 1f[rip]
    ud2
1:  syscall

    mark storm_fault_with_code
    add rsp, 8
    mark storm_fault
    mov [rsp], r15
    add r12, [rsp]
    iretq
    mark storm_trap
    add r13, [rsp]
    adc r13, [rsp + 16]
    iretq
guest_end storm

// Flags are dead at the head of a loop whose page the page tables don't map any more: the TLB does. rbx: the entry.
guest stale
    mov qword ptr [rbx], 0
    mov ecx, 3
1:  mov edx, 5
    add eax, edx
    lea rdx, [rax + 1]
    xor ecx, eax
    cmp ecx, 77
    jmp 1b
guest_end stale
