// SPDX-License-Identifier: Apache-2.0
// Into a case and out of it again, see oracle.h.
    .intel_syntax noprefix
    .set SYS_arch_prctl, 158
    .set ARCH_SET_GS, 0x1001
    .set ARCH_SET_FS, 0x1002
    .set ARCH_GET_FS, 0x1003
    .set ARCH_GET_GS, 0x1004

// The base of FS or GS from and to RSI. Changes RAX, RCX, RDI, R11. A kernel that doesn't know FSGSBASE loses
// what the instructions change.
    .macro set_base name, instruction, code
    cmp byte ptr oracle_has_fsgsbase[rip], 0
    je .Lset_\name\@
    \instruction rsi
    jmp .Lis_set_\name\@
.Lset_\name\@:
    mov edi, \code
    mov eax, SYS_arch_prctl
    syscall
.Lis_set_\name\@:
    .endm

    .macro get_base name, instruction, code
    cmp byte ptr oracle_has_fsgsbase[rip], 0
    je .Lget_\name\@
    \instruction rsi
    jmp .Lis_got_\name\@
.Lget_\name\@:
    push rsi
    mov rsi, rsp
    mov edi, \code
    mov eax, SYS_arch_prctl
    syscall
    pop rsi
.Lis_got_\name\@:
    .endm
    .set STATE_RIP, 128
    .set STATE_RFLAGS, 136
    .set STATE_FS_BASE, 144
    .set STATE_GS_BASE, 152
    .set STATE_FX, 192
    .set STATE_UPPER_HALVES, 704

    .bss
    .balign 8
oracle_host_rsp: .skip 8
oracle_host_fs:  .skip 8
oracle_host_gs:  .skip 8
oracle_target:   .skip 8
    .globl oracle_has_fsgsbase
oracle_has_fsgsbase: .skip 1
    .globl oracle_has_avx
oracle_has_avx: .skip 1

    .text
// void oracle_enter(const UserState* state)
    .globl oracle_enter
oracle_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    sub rsp, 8
    stmxcsr [rsp]
    fnstcw [rsp + 4]
    mov oracle_host_rsp[rip], rsp
    mov rbx, rdi
    get_base FS, rdfsbase, ARCH_GET_FS
    mov oracle_host_fs[rip], rsi
    get_base GS, rdgsbase, ARCH_GET_GS
    mov oracle_host_gs[rip], rsi
    mov rsi, [rbx + STATE_FS_BASE]
    set_base FS, wrfsbase, ARCH_SET_FS
    mov rsi, [rbx + STATE_GS_BASE]
    set_base GS, wrgsbase, ARCH_SET_GS

    mov rdi, rbx
    mov rax, [rdi + STATE_RIP]
    mov oracle_target[rip], rax
    fxrstor64 [rdi + STATE_FX]
    cmp byte ptr oracle_has_avx[rip], 0
    je .Lno_avx
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vinsertf128 ymm\n, ymm\n, [rdi + STATE_UPPER_HALVES + 16 * \n], 1
    .endr
.Lno_avx:
    push qword ptr [rdi + STATE_RFLAGS]
    popfq
    mov rax, [rdi]
    mov rcx, [rdi + 8]
    mov rdx, [rdi + 16]
    mov rbx, [rdi + 24]
    mov rsp, [rdi + 32]
    mov rbp, [rdi + 40]
    mov rsi, [rdi + 48]
    mov r8, [rdi + 64]
    mov r9, [rdi + 72]
    mov r10, [rdi + 80]
    mov r11, [rdi + 88]
    mov r12, [rdi + 96]
    mov r13, [rdi + 104]
    mov r14, [rdi + 112]
    mov r15, [rdi + 120]
    mov rdi, [rdi + 56]
    jmp oracle_target[rip]

// The handler of every signal: void oracle_signal_entry(int number, siginfo_t* info, void* context).
// C++ code needs the host's FS base (thread-local storage) and clean flags. The case's bases stay on the stack and are
// passed on: the clock's tick may come in the midst of another signal's handler.
    .globl oracle_signal_entry
oracle_signal_entry:
    push 2
    popfq
    push rbx
    push rbp
    push r12  // for the stack's alignment
    mov rbx, rdi
    mov rbp, rsi
    get_base FS, rdfsbase, ARCH_GET_FS
    push rsi
    get_base GS, rdgsbase, ARCH_GET_GS
    push rsi
    mov rsi, oracle_host_fs[rip]
    set_base FS, wrfsbase, ARCH_SET_FS
    mov rsi, oracle_host_gs[rip]
    set_base GS, wrgsbase, ARCH_SET_GS
    mov rdi, rbx
    mov rsi, rbp
    mov rcx, [rsp + 8]
    mov r8, [rsp]
    call oracle_signal
    test eax, eax
    jnz 1f
    pop rsi
    set_base GS, wrgsbase, ARCH_SET_GS
    pop rsi
    set_base FS, wrfsbase, ARCH_SET_FS
    pop r12
    pop rbp
    pop rbx
    ret
1:  mov rsp, oracle_host_rsp[rip]
    cmp byte ptr oracle_has_avx[rip], 0
    je .Lno_avx_to_clear
    vzeroupper
.Lno_avx_to_clear:
    fninit
    fldcw [rsp + 4]
    ldmxcsr [rsp]
    add rsp, 8
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

    .section .note.GNU-stack, "", @progbits
