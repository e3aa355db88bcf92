// SPDX-License-Identifier: Apache-2.0
// Guests of exceptions_test.cc.
#include "guest_code.inc"

// One exception of each kind, one after the other. rbx: an address that isn't mapped.
guest faults
    resume_at 1f
    mark fault_divide
    xor ecx, ecx
    mov eax, 5
    mark fault_divide_at
    div ecx
1:  resume_at 1f
    mark fault_undefined_at
    ud2
1:  mark trap_breakpoint_at
    int3
    mark trap_breakpoint_after
    mark trap_software_at
    int 0x90
    mark trap_software_after
    resume_at 1f
    mov rax, cr0
    or rax, 8
    mov cr0, rax
    mark fault_device_at
    movaps xmm0, xmm1
1:  clts
    movaps xmm0, xmm1
    resume_at 1f
    mov rax, 0x1000000000000000
    mark fault_general_at
    mov ecx, [rax]
1:  resume_at 1f
    mov rbp, rax
    mark fault_stack_at
    mov ecx, [rbp]
1:  resume_at 1f
    mark fault_page_read_at
    mov ecx, [rbx + 8]
1:  resume_at 1f
    mark fault_page_write_at
    mov [rbx + 16], ecx
1:  resume_at 1f
    mark fault_page_modify_at
    lock inc qword ptr [rbx + 0xffc]
1:  mov r13, rsp
    resume_at 1f
    jmp rbx
1:  mov rsp, r13
    resume_at 1f
    mov rax, -1
    mark fault_control_at
    mov cr4, rax
1:  resume_at 1f
    mov rcx, 0x12345678
    mark fault_msr_at
    rdmsr
1:  resume_at 1f
    mov eax, 0x500
    mov ds, eax
1:  resume_at 1f
    push 0x1f00               // invalid operations unmasked
    ldmxcsr [rsp]
    pop rcx
    xorps xmm2, xmm2
    mark fault_simd_at
    divsd xmm2, xmm2
1:  push 0x1f80
    ldmxcsr [rsp]
    pop rcx
    fninit
    mov word ptr [rsp - 8], 0x37e
    fldcw [rsp - 8]
    fldz
    fldz
    fdivp
    resume_at 1f
    mark fault_x87_at
    fwait
1:  fninit
    hlt
guest_end faults

// The trap flag: an exception after each of three instructions.
guest single_step
    pushfq
    or qword ptr [rsp], 0x100
    popfq
    nop
    mark step_1
    mov ecx, 1
    mark step_2
    rep stosb
    mark step_3
    pushfq
    mark step_4
    and qword ptr [rsp], ~0x100
    mark step_5
    popfq
    mark step_6
    mov ebx, 77
    hlt
guest_end single_step

// A page fault with a stack that can't be written: a double fault, on a stack of its own. rbx: not mapped.
guest double_fault
    mov rsp, rbx
    mark double_fault_at
    mov eax, [rbx]
    hlt
guest_end double_fault
