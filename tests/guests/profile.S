// SPDX-License-Identifier: Apache-2.0
// The guest of profile_test.cc: a loop, and a call through a register often enough for the jump cache.
#include "guest_code.inc"

guest profiled
    mov ecx, 100
    lea rdx, 2f[rip]
1:  call rdx
    dec ecx
    jnz 1b
    hlt
2:  mov eax, [rsp]
    ret
guest_end profiled
