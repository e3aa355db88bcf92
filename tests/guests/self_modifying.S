// SPDX-License-Identifier: Apache-2.0
// Guests of self_modifying_test.cc. Each leaves its result in rax. rbx: the address of an alias of the code's pages.
#include "guest_code.inc"

// The very next instruction, in the same block.
guest next_instruction
    xor eax, eax
    lea rdx, 1f[rip]
    mov byte ptr [rdx + 1], 7
1:  mov eax, 1                    // becomes mov eax, 7
    hlt
guest_end next_instruction

// An instruction in front, met again in a loop; its own writer too.
guest loop_body
    xor eax, eax
    mov ecx, 5
1:  add eax, 1                    // the immediate grows
    inc byte ptr 1b[rip + 2]
    dec ecx
    jnz 1b
    hlt
guest_end loop_body

// Through another linear address.
guest alias
    call 2f
    lea rdx, 2f[rip]
    sub rdx, rsi                  // rsi: the code's address
    add rdx, rbx
    mov dword ptr [rdx + 1], 0x1234
    call 2f
    hlt
    .balign 64
2:  mov eax, 1
    ret
guest_end alias

// By a string instruction, over code that has run before, into the block that holds the string instruction.
guest string
    xor r8d, r8d
1:  lea rsi, 3f[rip]
    lea rdi, 2f[rip]
    mov ecx, 10
    rep movsb
2:  add eax, 1
    add eax, 1
    nop
    nop
    nop
    nop
    inc r8d
    cmp r8d, 3
    jb 1b
    hlt
3:  add eax, 100
    add eax, 100
    nop
    nop
    nop
    nop
guest_end string

// An instruction across two pages, of which the second part changes.
guest across_pages
    mov r8d, 3
    xor r9d, r9d
    jmp 1f
    .skip 4094 - (. - guest_across_pages)
1:  mov eax, 1                    // begins 2 bytes before the page's end
    add r9d, eax
    inc byte ptr [rdx + 4096]     // rdx: the code's address; a byte of the immediate
    dec r8d
    jnz 1b
    mov eax, r9d
    hlt
guest_end across_pages

// A page whose mapping changes under a block that is chained to. rsi: page-table entry of rbx; r8, r9: entries.
guest remapped
    xor eax, eax
    mov ecx, 3
1:  call rbx
    mov [rsi], r9
    invlpg [rbx]
    xchg r8, r9
    dec ecx
    jnz 1b
    hlt
guest_end remapped

// Data and code share a page: writes close to the code that runs.
guest shared_page
    mov ecx, 200
    xor eax, eax
1:  add 2f[rip], rcx
    add rax, 2f[rip]
    dec ecx
    jnz 1b
    hlt
    .balign 8
2:  .quad 0
guest_end shared_page

// A just-in-time compiler: the same place gets other code again and again, called through a pointer.
guest compiler
    xor eax, eax
    mov ecx, 50
    lea rdx, 2f[rip]
1:  mov byte ptr [rdx], 0x05      // add eax, ecx as immediate
    mov [rdx + 1], ecx
    mov byte ptr [rdx + 5], 0xc3
    call rdx
    dec ecx
    jnz 1b
    hlt
    .balign 64
2:  .skip 16
guest_end compiler
