// SPDX-License-Identifier: Apache-2.0
// The guests of strings_test.cc.
//     rbx  data
#include "guest_code.inc"

// MOVS and STOS of each size and length: within a page, to its last byte, across its end; none, one and many
// elements; forward, backward, over themselves; in the middle of blocks whose registers and flags live on.
guest strings
    mov rax, 0x1122334455667788
    lea rdi, [rbx + 0x10]
    mov ecx, 9
    cmp eax, 5                    // flags that live until the end of the block
    rep stosb
    mov ecx, 5
    rep stosw
    mov ecx, 3
    rep stosd
    mov ecx, 70
    rep stosq
    adc r8, rcx
    stosb
    stosw
    stosd
    stosq
    xor ecx, ecx
    rep stosq
    lea rsi, [rbx + 0x20]
    mov ecx, 21
    rep movsb
    mov ecx, 11
    rep movsw
    mov ecx, 7
    rep movsd
    mov ecx, 6
    rep movsq
    movsb
    movsw
    movsd
    movsq
    mov r9, [rdi - 8]
    mov r10, [rsi - 16]
    lea rdi, [rbx + 0x1000 - 24]  // to the page's end
    mov ecx, 3
    rep stosq
    lea rdi, [rbx + 0x1000 - 20]  // across it
    mov ecx, 3
    rep stosq
    lea rdi, [rbx + 0x1000 - 4]
    stosq
    lea rsi, [rbx + 0x1000 - 12]
    mov ecx, 5
    rep movsq
    lea rsi, [rbx + 0x100]        // onto itself, one element further
    lea rdi, [rbx + 0x108]
    mov ecx, 10
    rep movsq
    lea rsi, [rbx + 0x200]
    lea rdi, [rbx + 0x203]
    mov ecx, 30
    rep movsb
    std
    mov ecx, 4
    rep stosq
    mov ecx, 4
    rep movsd
    cld
    lea rdi, [rbx + 0x300]
    mov ecx, 0x2200 / 8           // pages
    rep stosq
    sti                           // one instruction of grace
    stosq
    cli
    lea rdi, [rbx + 0x400]
    mov ecx, 3
    repne stosb
    cmp rax, [rbx + 0x300]
    setz r12b
    hlt
guest_end strings

// Under TF each element is an instruction.
guest stepped
    lea rdi, [rbx + 0x10]
    lea rsi, [rbx + 0x80]
    pushfq
    or qword ptr [rsp], 0x100
    popfq
    mov ecx, 3
    rep stosb
    mov ecx, 2
    rep movsq
    rdtsc
    pushfq
    and qword ptr [rsp], ~0x100
    popfq
    hlt
guest_end stepped

// Sums time stamps up, in blocks of many. r9: rounds
guest stamps
1:
    .rept 8
    rdtsc
    shl rdx, 32
    add rax, rdx
    add r8, rax
    rol r8, 1
    rdtscp
    add r8, rax
    add r8, rcx
    .endr
    dec r9
    jnz 1b
    hlt
guest_end stamps
