// SPDX-License-Identifier: Apache-2.0
// The guest of interrupts_test.cc and exact_stop_test.cc: a bit of everything, interrupts on.
//     rbx  data, user-writable or not; rdi, rsi are set from it
#include "guest_code.inc"

guest medley
    xor eax, eax
    mov ecx, 3
1:  add rax, rcx
    adc r9, rax
    lea r10, [rax + rcx * 4 + 7]
    mov [rbx + rcx * 8], r10
    imul r11, r10, 13
    dec ecx
    jnz 1b
    mov rdi, rbx
    lea rsi, [rbx + 0x800]
    mov ecx, 20
    rep movsb                     // a string of which an interrupt must not see a part
    mov ecx, 5
    std
    rep stosq
    cld
    call routine
    call qword ptr [rbx + 0xf00]  // the same by a pointer
    cli
    nop
    mov r12, rsp
    sti                           // one instruction of grace
    add r13, 1
    pushfq
    pop r14
    cmp r13, 5
    setnz r8b
    cmovz r9, r10
    mov ss, r15d                  // another instruction of grace
    mov rsp, r12
    push rax
    push qword ptr [rbx]
    pop rcx
    pop rdx
    movups xmm1, [rbx + 8]
    paddd xmm0, xmm1
    cvtsi2sd xmm2, rax
    fild qword ptr [rbx]
    fistp qword ptr [rbx + 0x20]
    bt rax, 3
    rcl rdx, 5
    shld rax, rdx, 7
    xchg rax, [rbx + 0xffc]       // across pages
    cpuid
    xor r15d, r15d
    mov r15d, 0x18
    mov ecx, 2
2:  loop 2b
    int3
    xor edx, edx
    mov ecx, 7
    div rcx
    lea r14, 3f[rip]
    jmp r14
3:  sub rax, rdx
    sti
    hlt                           // left only by an interrupt
    cli
    mark medley_after_hlt
    hlt
    hlt
routine:
    push rbp
    mov rbp, rsp
    sub rsp, 24
    and rax, 0xffff
    jz 1f
    inc qword ptr [rbp - 8]
1:  leave
    ret
    mark medley_routine
    jmp routine
guest_end medley
