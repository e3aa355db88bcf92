// SPDX-License-Identifier: Apache-2.0
// Guests of paging_test.cc. Common registers:
//     rbx  linear address of a page that the test maps          rsi  kernel's address of its page-table entry
//     r8   the entry that maps it to frame A                    r9   to frame B
//     r12  kernel's address of an array of results
#include "guest_code.inc"

    .macro result from
    mov [r12], \from
    add r12, 8
    .endm

// What a changed entry shows before and after INVLPG and a load of CR3.
guest invalidation
    mov rax, [rbx]
    result rax
    mov [rsi], r9
    invlpg [rbx]
    mov rax, [rbx]
    result rax
    mov [rsi], r8
    mov rax, cr3
    mov cr3, rax
    mov rax, [rbx]
    result rax
    mov qword ptr [rsi], 0
    invlpg [rbx + 5]
    resume_at 1f
    mark invalidation_fault
    mov rax, [rbx]
1:  mov [rsi], r9
    mov rax, [rbx]        // an absent page isn't remembered
    result rax
    hlt
guest_end invalidation

// A page that is global survives a load of CR3, but not a change of CR4.PGE.
guest global_page
    or r8, 0x100
    mov [rsi], r8
    invlpg [rbx]
    mov rax, [rbx]
    mov [rsi], r9
    mov rax, cr3
    mov cr3, rax
    mov rax, [rbx]
    result rax
    mov rax, cr4
    and rax, ~0x80
    mov cr4, rax
    or rax, 0x80
    mov cr4, rax
    mov rax, [rbx]
    result rax
    hlt
guest_end global_page

// Accessed and dirty bits, as they come.
guest accessed_dirty
    mov rax, [rsi]
    result rax
    mov rcx, [rbx]
    mov rax, [rsi]
    result rax
    mov [rbx], rcx
    mov rax, [rsi]
    result rax
    and qword ptr [rsi], ~0x60
    invlpg [rbx]
    mov [rbx + 8], rcx
    mov rax, [rsi]
    result rax
    hlt
guest_end accessed_dirty

// Write protection: of the kernel only with CR0.WP.
guest write_protection
    mov rcx, [rbx]
    resume_at 1f
    mark protection_fault_1
    mov [rbx], rcx
1:  mov rax, cr0
    and rax, ~0x10000
    mov cr0, rax
    not rcx
    mov [rbx], rcx
    mov rax, [rbx]
    result rax
    mov rax, cr0
    or rax, 0x10000
    mov cr0, rax
    resume_at 1f
    mark protection_fault_2
    add [rbx], rcx
1:  or qword ptr [rsi], 2
    invlpg [rbx]
    add [rbx], rcx
    mov rax, [rbx]
    result rax
    hlt
guest_end write_protection

// Execution: of a page with NX, then without.
guest no_execute
    mov byte ptr [rbx], 0xc3
    resume_at 1f
    mov r13, rsp
    call rbx
1:  mov rsp, r13
    btr qword ptr [rsi], 63
    invlpg [rbx]
    call rbx
    mov eax, 1
    result rax
    bts qword ptr [rsi], 63
    invlpg [rbx]
    resume_at 1f
    call rbx
1:  mov rsp, r13
    hlt
guest_end no_execute

// A reserved bit in an entry.
guest reserved_bit
    bts qword ptr [rsi], 51
    invlpg [rbx]
    resume_at 1f
    mov rax, [rbx]
1:  hlt
guest_end reserved_bit

// Address spaces with PCIDs. r10, r11: CR3 of two of them (PCID 1 and 2), which map rbx to frames A and B.
guest pcid
    mov rax, cr4
    bts rax, 17
    mov cr4, rax
    mov cr3, r10
    mov rax, [rbx]
    result rax
    mov cr3, r11
    mov rax, [rbx]
    result rax
    mov qword ptr [rsi], 0     // the entry of the first
    mov rax, r10
    bts rax, 63
    mov cr3, rax               // keeps what the PCID has
    mov rax, [rbx]
    result rax
    mov cr3, r10               // drops it
    resume_at 1f
    mov rax, [rbx]
1:  mov [rsi], r8
    mov rax, [rbx]
    result rax
    mov [rsi], r9
    mov cr3, r11
    sub rsp, 16
    mov qword ptr [rsp], 1
    mov [rsp + 8], rbx
    xor eax, eax
    invpcid rax, [rsp]         // one address of PCID 1
    mov rax, r10
    bts rax, 63
    mov cr3, rax
    mov rax, [rbx]
    result rax
    mov [rsi], r8
    mov eax, 2
    invpcid rax, [rsp]         // everything
    mov rax, [rbx]
    result rax
    hlt
guest_end pcid

// A 2 MiB page: its pieces, and INVLPG of one piece dropping all. rsi: the entry; r8, r9: 2 MiB pages.
guest large_page
    mov rax, [rbx + 0x1ff8]
    result rax
    mov rax, [rbx + 0x100000]
    result rax
    mov [rsi], r9
    invlpg [rbx + 0x100000]
    mov rax, [rbx + 0x1ff8]
    result rax
    hlt
guest_end large_page

// Data across two pages whose frames aren't neighbours; the second one missing at first. rsi: the second entry.
guest crossing
    mov rcx, 0x1122334455667788
    lea rdi, [rbx + 0xffb]
    resume_at 1f
    mark crossing_fault
    mov [rdi], rcx
1:  mov rax, [rbx + 0xff8]
    result rax                 // nothing of it was written
    mov [rsi], r9
    mov [rdi], rcx
    mov rax, [rdi]
    result rax
    mov rax, [rbx + 0x1000]
    result rax
    lock xadd [rdi], rax
    mov rax, [rdi]
    result rax
    movups xmm0, [rdi - 4]
    movups [rdi - 8], xmm0
    mov rax, [rdi - 8]
    result rax
    push qword ptr [rdi]
    pop rax
    result rax
    hlt
guest_end crossing

// User code of two pages, entered r13 times at addresses COPIES + n * r15 in turn; n is cut by the mask r14. Adds up
// what it sees of its own address, relative to the start of the code: rax must be the same each time. rsi: offset of
// the user part; r8: how often it differed.
    .set COPIES, 0x7f0000000000
guest copies
    mov ecx, 0xc0000081           // STAR: user 0x23 (SS 0x2b, CS 0x33), kernel 0x10
    mov edx, 0x00230010
    xor eax, eax
    wrmsr
    mov ecx, 0xc0000082           // LSTAR
    lea rax, copies_return[rip]
    mov rdx, rax
    shr rdx, 32
    wrmsr
    mov r9, rsp
    xor r8d, r8d
    xor r12d, r12d
copies_next:
    mov rbx, r13
    and rbx, r14
    imul rbx, r15
    movabs rax, COPIES
    add rbx, rax
    push 0x2b
    push 0x602000
    push 2
    push 0x33
    lea rax, [rsi + rbx]
    push rax
    iretq
copies_return:
    mov rsp, r9
    test r12, r12
    cmovz r12, rax
    cmp rax, r12
    je 1f
    inc r8d
1:  dec r13d
    jnz copies_next
    hlt
    mark copies_user
    lea rax, copies_user[rip]
    sub rax, rbx
    call 1f
1:  pop rdx
    sub rdx, rbx
    add rax, rdx
    add rax, 2f[rip]
    mov ecx, 10
3:  call 4f
    lea rdx, 5f[rip]
    call rdx
    dec ecx
    jnz 3b
    syscall
2:  .quad 1000
    .skip 4200 - (. - guest_copies)
4:  lea rdx, 4b[rip]
    sub rdx, rbx
    add rax, rdx
    mov rdx, [rsp]
    sub rdx, rbx
    lea rax, [rax + rdx * 2]
    ret
5:  jmp 4b
guest_end copies

// User code that calls sixteen functions of another page, eight times; before each the kernel maps one of two pages
// there in turn, and loads CR3 anew. rdi: the entry of that page in the page tables; r14, r15: what it gets;
// rsi: offset of the user part.
    .set FLUSHED, 0x7f0000000000
guest flushed
    mov ecx, 0xc0000081           // STAR: user 0x23 (SS 0x2b, CS 0x33), kernel 0x10
    mov edx, 0x00230010
    xor eax, eax
    wrmsr
    mov ecx, 0xc0000082           // LSTAR
    lea rax, flushed_return[rip]
    mov rdx, rax
    shr rdx, 32
    wrmsr
    mov r9, rsp
    mov r13d, 8
flushed_next:
    mov [rdi], r14
    xchg r14, r15
    mov rax, cr3
    mov cr3, rax
    push 0x2b
    push 0x602000
    push 2
    push 0x33
    movabs rax, FLUSHED
    add rax, rsi
    push rax
    iretq
flushed_return:
    mov rsp, r9
    result rax
    dec r13d
    jnz flushed_next
    hlt
    mark flushed_user
    xor eax, eax
    .set function, 0
    .rept 16
    call flushed_first + function
    .set function, function + 32
    .endr
    syscall
    .skip 4096 - (. - guest_flushed)
flushed_first:
    .rept 16
    add eax, 1
    ret
    .skip 28
    .endr
    .skip 8192 - (. - guest_flushed)
    .rept 16
    add eax, 2
    ret
    .skip 28
    .endr
guest_end flushed

// Two address spaces (r10, r11: CR3 of PCIDs 1 and 2, kept) that hold different things in the upper half from rbx on:
// data, a page of code that is the same, and one that isn't, to which the first jumps. r13: how often both are
// visited; rdi: the entry of the second's data, r9: what it gets in the end. Adds up in r8 what it sees.
    .macro visit space
    mov cr3, \space
    add r8, [rbx]
    add qword ptr [rbx + 8], 1
    lea rdx, [rbx + 0x1000]
    call rdx
    .endm
guest upper_halves
    mov rax, cr4
    bts rax, 17
    mov cr4, rax
    xor r8d, r8d
1:  visit r10
    visit r11
    dec r13
    jnz 1b
    result r8
    xor r8d, r8d
    mov [rdi], r9
    visit r11
    result r8                  // as before: the TLB still holds it
    sub rsp, 16
    mov qword ptr [rsp], 2
    mov [rsp + 8], rbx
    xor eax, eax
    mov cr3, r10
    invpcid rax, [rsp]         // one address of PCID 2
    xor r8d, r8d
    visit r11
    result r8
    hlt
    .skip 4096 - (. - guest_upper_halves)
    add r8, 1
    call upper_halves_other
    add r8, 2
    ret
    .skip 8192 - (. - guest_upper_halves)
upper_halves_other:
    add r8, 0x100
    ret
    .skip 12288 - (. - guest_upper_halves)
    add r8, 0x200
    ret
guest_end upper_halves
