// SPDX-License-Identifier: Apache-2.0
// A handler for each of the 256 vectors, 16 bytes apart. They write an Event (kit/guest_machine.h), then return: to
// the address in LOG_RESUME if that isn't zero, for once. Vector 0xff halts for good.
#include "guest_code.inc"

    .globl guest_handlers, guest_handlers_end
    .balign 16
guest_handlers:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector != 8 && (vector < 10 || vector > 14) && vector != 17
    push 0
    .endif
    .byte 0x68  // push imm32
    .long vector
    .byte 0xe9  // jmp
    .long common - . - 4
    .set vector, vector + 1
    .endr

common:
    cld
    push rax
    push rcx
    push rdx
    movabs rax, LOG
    mov rcx, [rax]
    inc qword ptr [rax]
    cmp rcx, 2000
    jae stop
    shl rcx, 6
    lea rcx, [rax + rcx + 64]
    mov rdx, [rsp + 24]
    mov [rcx], rdx
    mov rdx, [rsp + 32]
    mov [rcx + 8], rdx
    mov rdx, [rsp + 40]
    mov [rcx + 16], rdx
    mov rdx, [rsp + 48]
    mov [rcx + 24], rdx
    mov rdx, [rsp + 56]
    mov [rcx + 32], rdx
    mov rdx, [rsp + 64]
    mov [rcx + 40], rdx
    mov rdx, [rsp + 72]
    mov [rcx + 48], rdx
    mov rdx, cr2
    mov [rcx + 56], rdx
    cmp qword ptr [rsp + 24], 0xff
    je stop
    mov rdx, [rax + 8]
    test rdx, rdx
    jz 1f
    mov [rsp + 40], rdx
    mov qword ptr [rax + 8], 0
1:  pop rdx
    pop rcx
    pop rax
    add rsp, 16
    iretq
stop:
    cli
    hlt
    jmp stop
guest_handlers_end:
