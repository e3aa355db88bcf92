// SPDX-License-Identifier: Apache-2.0
// The bytes of the page's files, between lockstep_page_NAME and lockstep_page_NAME_end.
    .section .rodata
#define X(symbol, file, path, content_type)       \
    .globl lockstep_page_##symbol;                \
    .globl lockstep_page_##symbol##_end;          \
    lockstep_page_##symbol: .incbin file;         \
    lockstep_page_##symbol##_end:;
#include "page_files.inc"
    .section .note.GNU-stack, "", @progbits
