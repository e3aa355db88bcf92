// SPDX-License-Identifier: Apache-2.0
// Writes each page of its memory once, then works for ever. The last word says at what:
//     0   writes whole pages at random places of all its memory, with a pause after each
//     1   a program of a user: reads at random places of 64 MiB, and now and then writes to one of 16 pages
//     2   one that changes 16 MiB, word by word, over and over
    .intel_syntax noprefix
    .section .rodata
    .global clone_kernel, clone_kernel_end

    .set TABLES, 0x2000000           // of 2 MiB pages for the first 16 GiB; the counter lies before
    .set COUNTER, 0x1ff0000          // what has been done: pages, or turns of the program's loops
    .set DATA, 0x6000000             // of a program: 64 MiB
    .set USER_CODE, 0x23
    .set USER_DATA, 0x1b
    .set FIRST_PAGE, 0x4000          // leaves out what lies lower

clone_kernel:
    mov esp, COUNTER
    mov edi, TABLES
    mov ecx, 17 * 512
    xor eax, eax
    rep stosq
    mov edi, TABLES
    mov eax, TABLES + 0x1007
    mov ecx, 16
1:  mov [rdi], rax
    add rdi, 8
    add rax, 0x1000
    loop 1b
    mov edi, TABLES + 0x1000
    mov eax, 0x87
    mov ecx, 16 * 512
1:  mov [rdi], rax
    add rdi, 8
    add rax, 1 << 21
    loop 1b
    mov rax, cr3
    mov rbx, rax
    and rbx, -4096
    mov qword ptr [rbx], TABLES + 7
    mov cr3, rax

    mov r9, pages[rip]
    sub r9, FIRST_PAGE
    mov r10, pause[rip]
    xor esi, esi                     // every page once
2:  mov rdi, rsi
    call place
    mov [rdi], rdi
    inc rsi
    cmp rsi, r9
    jb 2b

    mov r8, 88172645463325252
    mov rbx, load[rip]
    test rbx, rbx
    jnz program
3:  movabs rax, 6364136223846793005
    imul r8, rax
    add r8, 1442695
    mov rdi, r8
    shr rdi, 32
    imul rdi, r9
    shr rdi, 32
    call place
    mov rax, r8
    mov ecx, 512
    rep stosq
    inc qword ptr [COUNTER]
    mov rcx, r10
4:  dec rcx
    jnz 4b
    jmp 3b

place:                               // page rdi of those: its address
    add rdi, FIRST_PAGE
    cmp rdi, 0xc0000
    jb 5f
    add rdi, 0x40000                 // beyond the hole below 4 GiB
5:  shl rdi, 12
    ret

program:
    mov rax, cr3                     // the TLB loses what isn't the program's
    mov cr3, rax
    lea rax, segments[rip]
    mov segments_at[rip + 2], rax
    lgdt segments_at[rip]
    push USER_DATA
    push COUNTER
    push 2
    push USER_CODE
    lea rax, reader[rip]
    lea rdx, writer[rip]
    cmp rbx, 2
    cmove rax, rdx
    push rax
    iretq

reader:
    mov edi, DATA
    movabs r11, 6364136223846793005
6:  mov ecx, 1000
7:  imul r8, r11
    add r8, 1442695
    mov rdx, r8
    shr rdx, 38                      // less than 64 MiB
    add rax, [rdi + rdx]
    dec ecx
    jnz 7b
    mov edx, r8d
    and edx, 0xf000
    mov [rdi + rdx], rax
    inc qword ptr [COUNTER]
    jmp 6b

writer:
8:  mov edi, DATA
    mov edx, 16 << 20 >> 12
9:  mov ecx, 4096 / 8
10: imul r8, rax, 3
    xor rax, [rdi]
    add r8, rcx
    mov [rdi], r8
    add rdi, 8
    dec ecx
    jnz 10b
    inc qword ptr [COUNTER]
    dec edx
    jnz 9b
    jmp 8b

    .balign 8
segments:
    .quad 0, 0x00209a0000000000, 0x0000920000000000, 0x0000f20000000000, 0x0020fa0000000000
segments_at:
    .word segments_at - segments - 1
    .quad 0
    .balign 8
pages:                               // the last three words: set by clone.cc
    .quad 0
pause:
    .quad 0
load:
    .quad 0
clone_kernel_end:
    .section .note.GNU-stack, "", @progbits
