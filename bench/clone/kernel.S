// SPDX-License-Identifier: Apache-2.0
// Writes each page of its memory once, then for ever whole pages at random places, with a pause after each.
    .intel_syntax noprefix
    .section .rodata
    .global clone_kernel, clone_kernel_end

    .set TABLES, 0x2000000           // of 2 MiB pages for the first 16 GiB; the counter lies before
    .set COUNTER, 0x1ff0000          // pages written
    .set FIRST_PAGE, 0x4000          // leaves out what lies lower

clone_kernel:
    mov esp, COUNTER
    mov edi, TABLES
    mov ecx, 17 * 512
    xor eax, eax
    rep stosq
    mov edi, TABLES
    mov eax, TABLES + 0x1003
    mov ecx, 16
1:  mov [rdi], rax
    add rdi, 8
    add rax, 0x1000
    loop 1b
    mov edi, TABLES + 0x1000
    mov eax, 0x83
    mov ecx, 16 * 512
1:  mov [rdi], rax
    add rdi, 8
    add rax, 1 << 21
    loop 1b
    mov rax, cr3
    mov rbx, rax
    and rbx, -4096
    mov qword ptr [rbx], TABLES + 3
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

    .balign 8
pages:                               // the last two words: set by clone.cc
    .quad 0
pause:
    .quad 0
clone_kernel_end:
    .section .note.GNU-stack, "", @progbits
