// SPDX-License-Identifier: Apache-2.0
// Guest of clone_test.cc: writes its memory in every way there is, in an order that a random number r8 gives, for ever.
#include "guest_code.inc"

    .set USER_STACK, 0x602000
    .set USER_DATA, 0x610000

// Each kind of write is the first one to its page now and then.
    .macro another_page
    add r9d, 37 << 12
    and r9d, 0x7f << 12
    lea r11, [rdi + r9]
    .endm

// rbx: a 4 KiB page of its own. rbp: the address of its entry in the page table. rsi: the user part. rdi: DATA.
guest writer
    mark writer_loop
    movabs rax, 6364136223846793005
    imul r8, rax
    add r8, 1442695040
    mov r9, r8
    shr r9, 45
    and r9d, 0x7f                 // one of 128 pages of data
    shl r9, 12
    mov r10, r8
    shr r10, 33
    and r10d, 0xff8
    lea r11, [rdi + r9]
    mov [r11 + r10], r8
    another_page
    add [r11 + 8], r9
    another_page
    mov rax, r10
    lock xadd [r11 + 16], rax
    another_page
    mov [r11 + 4092], r8          // across pages
    another_page
    movq xmm0, r8
    movups [r11 + 4088], xmm0
    another_page
    movaps [r11 + 32], xmm0
    another_page
    lock or byte ptr [r11 + 128], 3
    another_page
    lock cmpxchg [r11 + 64], r8
    another_page
    push r8
    call 1f
    pop rax
    fxsave [r11 + 512]
    inc byte ptr patched[rip + 3] // its own code
patched:
    add r12, 1
    lea rdx, far_code[rip]        // and code on a page of its own
    inc byte ptr [rdx + 2]
    call rdx

    test r8, 1 << 20
    jz 2f
    push rdi                      // strings
    push rsi
    mov rsi, rdi
    lea rdi, [r11 + r10]
    mov rcx, r8
    shr rcx, 50
    rep stosb
    mov rcx, r8
    shr rcx, 55
    rep movsq
    pop rsi
    pop rdi
2:  test r8, 3 << 21
    jnz 3f
    and qword ptr [rbp], ~0x60    // accessed and dirty bits, which are set later
    invlpg [rbx]
3:  test r8, 3 << 23
    jnz 3f
    mov rax, [rbx + 8]
    mov [rbx + 8], r8
3:  test r8, 1 << 25
    jz 4f
    int 0x90                      // a frame on the stack
4:  sti
    nop
    cli
    test r8, 3 << 27
    jnz writer_loop
    push 0x2b
    push USER_STACK
    push 0x202
    push 0x33
    push rsi
    iretq

    mark writer_system_call
    jmp writer_loop
1:  push rbx
    pop rcx
    ret
    mark writer_trap
    add r13, [rsp]
    iretq

    mark writer_user              // r8: its random number, r15: its data
    mov ecx, 60
5:  movabs rax, 6364136223846793005
    imul r8, rax
    add r8, 77777
    mov rdx, r8
    shr rdx, 45
    and edx, 0xf
    shl rdx, 12
    mov [r15 + rdx + 24], r8
    add qword ptr [r15 + rdx + 4000], 3
    push r8
    pop rax
    dec ecx
    jnz 5b
    mov byte ptr [r15 + 4095], 9
    mov [r15 + 4093], r8          // across pages
    syscall
    .balign 4096
far_code:
    mov eax, 1
    ret
guest_end writer
