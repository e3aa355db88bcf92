// SPDX-License-Identifier: Apache-2.0
// Small position-independent programs that stand where a Linux kernel's 64-bit entry point is. The tests copy the
// bytes between NAME and NAME_end into a bzImage.

    .intel_syntax noprefix
    .section .rodata

    .macro kernel name
    .global small_\name, small_\name\()_end
    small_\name:
    .endm

    .macro power_off
    mov dx, 0x604
    mov ax, 0x3400
    out dx, ax
    .endm

// Prints "Hi" on the serial port and switches itself off.
    kernel hello
    mov dx, 0x3f8
    mov al, 'H'
    out dx, al
    mov al, 'i'
    out dx, al
    power_off
1:  jmp 1b
small_hello_end:

// Counts in RBX and in memory, for ever.
    kernel count
    lea rdi, [rip + 2f]
1:  inc rbx
    add [rdi], rbx
    jmp 1b
    .balign 8
2:  .quad 0
small_count_end:

// Halts with interrupts off.
    kernel halt
    hlt
1:  jmp 1b
small_halt_end:

// Counts in RBX how often reading a page sets the accessed bit of its page table entry, which it takes away each
// time without telling the TLB.
    kernel stale
    mov rax, cr3
    and rax, -4096
    mov rax, [rax]
    and rax, -4096
    mov rax, [rax]
    and rax, -4096
    add rax, 3 * 8
    mov rsi, 3 << 21
1:  mov rcx, [rsi]
    mov rdx, [rax]
    shr rdx, 5
    and rdx, 1
    add rbx, rdx
    and qword ptr [rax], ~0x20
    inc r8
    jmp 1b
small_stale_end:

// No interrupt table: the undefined instruction becomes a triple fault.
    kernel triple
    ud2
small_triple_end:

// Asks for a reset by port cf9.
    kernel reset
    mov dx, 0xcf9
    mov al, 6
    out dx, al
1:  jmp 1b
small_reset_end:

// Prints a letter at each of ten timer interrupts, halting between every second pair, then switches itself off.
    kernel timer
    lea rsp, [rip + 8f + 4096]
    lea rdi, [rip + 8f]             // interrupt table: entry 0x40 only
    lea rax, [rip + 3f]
    mov [rdi + 0x400], ax
    mov word ptr [rdi + 0x402], 0x10
    mov word ptr [rdi + 0x404], 0x8e00
    shr rax, 16
    mov [rdi + 0x406], ax
    shr rax, 16
    mov [rdi + 0x408], eax
    mov word ptr [rip + 7f], 0x40f
    mov [rip + 7f + 2], rdi
    lidt [rip + 7f]
    mov ecx, 0x1b                   // x2APIC
    mov eax, 0xfee00d00
    xor edx, edx
    wrmsr
    mov ecx, 0x80f                  // software enable
    mov eax, 0x1ff
    wrmsr
    mov ecx, 0x832                  // timer: TSC deadline, vector 0x40
    mov eax, 0x40040
    wrmsr
    mov r8d, 10
    call 4f
    sti
1:  inc rbx
    test r8d, 2
    jz 1b
    hlt
    jmp 1b
3:  mov dx, 0x3f8                   // the interrupt
    mov al, 'a'
    add al, r8b
    out dx, al
    mov ecx, 0x80b
    xor eax, eax
    xor edx, edx
    wrmsr
    dec r8d
    jz 5f
    call 4f
    iretq
4:  rdtsc                           // the next one in 5000 ns
    shl rdx, 32
    or rax, rdx
    add rax, 5000
    mov rdx, rax
    shr rdx, 32
    mov ecx, 0x6e0
    wrmsr
    ret
5:  power_off
6:  jmp 6b
    .balign 8
7:  .quad 0, 0
8:  .skip 4096
small_timer_end:

    .section .note.GNU-stack, "", @progbits
