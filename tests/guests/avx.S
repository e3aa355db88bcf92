// SPDX-License-Identifier: Apache-2.0
// The guest of avx_test.cc: AVX switched on step by step, then a loop in which upper halves of YMM registers are
// filled, cleared, kept by legacy instructions and seen by interpreted ones; XSAVE; operands that are misaligned, on
// two pages, or masked off.
#include "guest_code.inc"
    .set CR4_OSXSAVE, 1 << 18
    .set CR0_TS, 1 << 3

guest avx
    movabs rbx, DATA
    resume_at 1f
    mark avx_switched_off
    vaddps ymm0, ymm1, ymm2
1:  mov rax, cr4
    or rax, CR4_OSXSAVE
    mov cr4, rax
    resume_at 1f
    mark avx_not_in_xcr0
    vpxor xmm0, xmm1, xmm2
1:  resume_at 1f
    mark gather_not_in_xcr0
    vpgatherdd ymm0, [rbx + ymm1], ymm2
1:  xor ecx, ecx
    xor edx, edx
    mov eax, 7
    xsetbv
    mov rax, cr0
    or rax, CR0_TS
    mov cr0, rax
    resume_at 1f
    mark avx_unavailable
    vzeroupper
1:  clts

    vpcmpeqd ymm1, ymm1, ymm1
    vpsrld ymm2, ymm1, 28
    mov ecx, 20
2:  vpaddd ymm3, ymm3, ymm2
    vpaddd ymm4, ymm4, ymm2
    vpaddd xmm4, xmm4, xmm2
    paddd xmm5, xmm2
    str ax
    vpaddd ymm5, ymm5, ymm2
    vmovdqu [rbx + 0x700], ymm3
    vmaskmovps ymm6, ymm1, [rbx + 0x700]
    vmovaps ymm7, ymm1
    vpgatherdd ymm8, [rbx + ymm0 + 0x700], ymm7
    paddd xmm8, xmm8
    str ax
    dec ecx
    jnz 2b

    vmovups [rbx + 0x400], ymm3
    vmovups [rbx + 0x420], ymm4
    vmovups [rbx + 0x440], ymm5
    vmovups [rbx + 0x460], ymm6
    vmovups [rbx + 0x480], ymm7
    vmovups [rbx + 0x4a0], ymm8

    mov eax, 7
    xor edx, edx
    xsave64 [rbx]
    vzeroall
    vmovups [rbx + 0x4c0], ymm3
    xrstor64 [rbx]
    vmovups [rbx + 0x4e0], ymm3
    vzeroupper
    str ax
    vmovups [rbx + 0x500], ymm3
    // Again, with a header that calls the upper halves initial.
    mov qword ptr [rbx + 512], 3
    xrstor64 [rbx]
    vmovups [rbx + 0x520], ymm3

    resume_at 1f
    mark avx_misaligned
    vmovaps ymm0, [rbx + 0x410]
1:  mov eax, 7
    mov qword ptr [rbx + 512], 7
    xrstor64 [rbx]
    vmovups [rbx + 0xff0], ymm3
    vmovups ymm9, [rbx + 0xff0]
    vmovups [rbx + 0x540], ymm9
    vpaddd ymm9, ymm9, [rbx + 0xff0]
    vmovups [rbx + 0x560], ymm9
    hlt
guest_end avx
