// SPDX-License-Identifier: Apache-2.0
// Guest of transfers_test.cc: system calls and moves of system registers, and a digest in r8 of all that they show.
#include "guest_code.inc"

    .set CODE_USER, 0x400000
    .set USER_STACK, 0x602000

    .macro mix from
    xor r8, \from
    imul r8, r8, 0x5bd1e995
    ror r8, 29
    .endm
// RAX = those flags of rdi that the digest has, and IF.
    .macro flags_of_digest
    mov rax, r8
    and eax, edi
    or eax, 0x202
    .endm

// rsi: offset of the user part; rbx: SFMASK; rdi: flags that change; r13: rounds. In user and kernel mode by turns.
guest transfers
    mov ecx, 0xc0000081           // STAR: user 0x23 (SS 0x2b, CS 0x33), kernel 0x10
    mov edx, 0x00230010
    xor eax, eax
    wrmsr
    mov ecx, 0xc0000082           // LSTAR
    lea rax, transfers_entry[rip]
    mov rdx, rax
    shr rdx, 32
    wrmsr
    mov ecx, 0xc0000084           // SFMASK
    mov eax, ebx
    xor edx, edx
    wrmsr
    mov ecx, 0xc0000102           // KERNEL_GS_BASE
    mov eax, 0x11223344
    wrmsr
    push 0x2b
    push USER_STACK
    push 0x202
    push 0x33
    lea rax, [rsi + CODE_USER]
    push rax
    iretq
transfers_entry:
    swapgs
    mix r11
    mix rcx
    pushfq
    pop rax
    mix rax
    cld
    mov r9, cs
    mix r9
    mov r10d, ss
    mix r10
    mov ax, ds                    // a word: the rest of the register stays
    mix rax
    mov r12w, es
    mix r12
    mov bp, ss
    mix rbp
    rdfsbase rax
    mix rax
    rdgsbase r12
    mix r12
    lea rax, [r8 * 8]
    shl rax, 13
    sar rax, 16
    wrgsbase rax                  // canonical
    mov eax, r8d
    wrfsbase eax
    mov eax, r13d
    and eax, 3
    mov ds, eax
    mov eax, 0x18                 // three rounds of four have a selector that names a descriptor
    mov edx, 3
    test r13d, 3
    cmovz eax, edx
    mov es, eax
    mov rax, cr0
    mix rax
    mov r10, cr2
    mix r10
    mov rax, cr3
    mix rax
    mov rax, cr4
    mix rax
    mov eax, es
    mix rax
    flags_of_digest
    mov r11, rax
    swapgs
    sub r13d, 1
    jz 1f
    sysretq
1:  hlt
    mark transfers_user
    flags_of_digest
    push rax
    popfq
    syscall
    pushfq
    pop rax
    cld
    mix rax
    mov eax, ds
    mix rax
    mov rax, es
    mix rax
    mov r10w, ds
    mix r10
    rdgsbase rax
    mix rax
    rdfsbase r15
    mix r15
    lea r15, [r15 + 3]
    wrfsbase r15
    jmp transfers_user
guest_end transfers

// Bases that aren't canonical are refused, be they on either side of the hole; so are all where CR4.FSGSBASE is clear.
guest bases
    mov rbx, 0x800000000000
    resume_at 1f
    mark bases_low
    wrfsbase rbx
1:  dec rbx
    wrfsbase rbx
    mov rcx, 0xffff7fffffffffff
    resume_at 1f
    mark bases_high
    wrgsbase rcx
1:  inc rcx
    wrgsbase rcx
    rdfsbase rsi
    rdgsbase rdi
    wrgsbase ebx
    rdgsbase r8
    mov rax, cr4
    btr rax, 16
    mov cr4, rax
    resume_at 1f
    mark bases_off
    rdfsbase rax
1:  hlt
guest_end bases
