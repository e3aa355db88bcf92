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
