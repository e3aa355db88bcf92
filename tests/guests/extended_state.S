// SPDX-License-Identifier: Apache-2.0
// The guest of extended_state_test.cc: switches XSAVE on, saves x87 and SSE state out of translated code,
// destroys it and restores it.
#include "guest_code.inc"
    .set CR4_OSXSAVE, 1 << 18
    .set CR0_TS, 1 << 3
    .set X87_AND_SSE, 3

guest extended_state
    movabs rbx, DATA
    resume_at 1f
    mark xsave_switched_off
    xsave64 [rbx]
1:  mov rax, cr4
    or rax, CR4_OSXSAVE
    mov cr4, rax
    xor ecx, ecx
    xgetbv
    mov rsi, rax
    mov eax, X87_AND_SSE
    xor edx, edx
    xsetbv
    xgetbv
    mov rdi, rax
    resume_at 1f
    mark xsaveopt_hidden
    xsaveopt64 [rbx]
1:  mov rax, cr0
    or rax, CR0_TS
    mov cr0, rax
    resume_at 1f
    mark xrstor_unavailable
    xrstor64 [rbx]
1:  clts

    fninit
    fldpi
    fld1
    pcmpeqd xmm5, xmm5
    mov eax, X87_AND_SSE
    xor edx, edx
    xsave64 [rbx]
    fninit
    pxor xmm5, xmm5
    xrstor64 [rbx]
    fstp qword ptr [rbx + 1024]
    fstp qword ptr [rbx + 1032]
    movq [rbx + 1040], xmm5

// Again with a header that calls both components initial.
    mov qword ptr [rbx + 512], 0
    xrstor64 [rbx]
    fnstcw [rbx + 1048]
    movq [rbx + 1056], xmm5
    hlt
guest_end extended_state
