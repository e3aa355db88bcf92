// SPDX-License-Identifier: Apache-2.0
// The guest of modes_test.cc: from the state after a reset, with CS at the guest's code, by way of 16- and 32-bit
// protected mode to 64-bit code. edi: the page tables.
#include "guest_code.inc"

    .set PHYSICAL, 0xf0000
    .set CODE32, 0x08
    .set DATA32, 0x10
    .set CODE64, 0x18
    .set DATA_LIMITED, 0x20

guest modes
    .code16
    xor edx, edx
    mov ax, 0x9000                // a stack at 0x9000:0x100
    mov ss, ax
    mov sp, 0x100
    mov bx, 0xfff0
    mov ecx, 5
1:  add bx, 8                     // wraps
    loop 1b
    call real_function
    int 0x20                      // bp: what the handler makes of it
    pusha
    mov ax, 0xffff
    popa
    push 0x1234
    pop si
    mov dx, cs:[bx + real_word - guest_modes - 0x18]
    lidt cs:[no_handlers - guest_modes]
    lgdt cs:[descriptors - guest_modes]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea              // jmp far CODE32:protected
    .long PHYSICAL + protected - guest_modes
    .word CODE32
real_function:
    xor bp, bp
    cmp bx, 0x18
    jne 1f
    inc bp
1:  ret
real_handler:
    add bp, 0x10
    iret
real_word: .word 0x4321
no_handlers: .word 0
    .long 0
descriptors: .word table_end - table - 1
    .long PHYSICAL + table - guest_modes
    .balign 8
table:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00af9b000000ffff
    .quad 0x0040930f0100000f       // 16 bytes from PHYSICAL + 0x100
table_end:
mark modes_vectors                // 0x20: real_handler
    .rept 0x20
    .long 0
    .endr
    .word real_handler - guest_modes, 0xf000

    .code32
protected:
    mov ax, DATA32
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x10000
    mov ax, DATA_LIMITED
    mov fs, ax
    mov dword ptr fs:[12], 0x55aa55aa
    push ebp
    push edx
    call protected_function
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov cr3, edi
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    jmp CODE64:(PHYSICAL + long_mode - guest_modes)
protected_function:
    lea eax, [esp + 4]
    mov ebx, [eax]                // edx of before
    inc ebx
    ret
    .code64
long_mode:
    pop rax                       // edx and ebp
    movabs r8, 0x1122334455667788
    mov r9, r8
    lea r10, long_mode[rip]
    mov r11d, PHYSICAL + 0x10c
    mov r11d, [r11]
    hlt
guest_end modes
