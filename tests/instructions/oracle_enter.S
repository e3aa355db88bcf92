// Into a case and out of it again, see oracle.h.
    .intel_syntax noprefix
    .set STATE_RIP, 128
    .set STATE_RFLAGS, 136
    .set STATE_FS_BASE, 144
    .set STATE_GS_BASE, 152
    .set STATE_FX, 192

    .bss
    .balign 8
oracle_host_rsp: .skip 8
oracle_host_fs:  .skip 8
oracle_host_gs:  .skip 8
oracle_target:   .skip 8

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
    rdfsbase rax
    mov oracle_host_fs[rip], rax
    rdgsbase rax
    mov oracle_host_gs[rip], rax

    mov rax, [rdi + STATE_RIP]
    mov oracle_target[rip], rax
    fxrstor64 [rdi + STATE_FX]
    mov rax, [rdi + STATE_FS_BASE]
    wrfsbase rax
    mov rax, [rdi + STATE_GS_BASE]
    wrgsbase rax
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
    rdfsbase rcx
    rdgsbase r8
    push rcx
    push r8
    mov rax, oracle_host_fs[rip]
    wrfsbase rax
    mov rax, oracle_host_gs[rip]
    wrgsbase rax
    sub rsp, 8
    call oracle_signal
    add rsp, 8
    pop r8
    pop rcx
    test eax, eax
    jnz 1f
    wrfsbase rcx
    wrgsbase r8
    ret
1:  mov rsp, oracle_host_rsp[rip]
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
