// SPDX-License-Identifier: Apache-2.0
// Cases that an engine once got wrong, each as small as it can be.
#include <cstring>
#include <span>

#include "base/check.h"
#include "generate.h"
#include "generate_parts.h"

namespace lockstep::instructions {

namespace {

using namespace cpu;

struct KnownCase {
    std::string_view name;
    std::string_view code;  ///< INT3 follows
    void (*prepare)(Case& test_case) = nullptr;
};

uint64_t& rcx(Case& test_case) { return test_case.state.gpr[kRcx]; }
void set_word(Case& test_case, size_t at, uint16_t value) {
    std::memcpy(&test_case.state.fx.bytes[at], &value, 2);
}
void set_control_word(Case& test_case, uint16_t value) { set_word(test_case, 0, value); }

void pop_trap_flag(Case& test_case) { add_patch(test_case, test_case.state.gpr[kRsp], 0x302, 8); }

/// An x87 exception that is unmasked and pending.
void pending_x87_exception(Case& test_case) {
    set_control_word(test_case, 0x37e);
    set_word(test_case, 2, 0x8081);
}

constexpr uint64_t kNowhere = 0x1234567890abcdef;

constexpr std::string_view kFbstp("\xdf\x31", 2);  // fbstp [rcx]

/// ST(0) isn't a number that FBSTP can store, and that is unmasked: memory stays as it is.
void unstorable(Case& test_case) {
    set_control_word(test_case, 0x37e);
    test_case.state.fx.bytes[4] = 1;
    long double value = 1e30L;
    std::memcpy(&test_case.state.fx.bytes[32], &value, 10);
}

/// The second of some pushes is the first that crosses pages.
void misaligned_stack(Case& test_case) { test_case.state.gpr[kRsp] = kData + kPageSize + 11; }

/// Its operand, by RCX or by RCX and RSI.
void hint_across_pages(Case& test_case) {
    rcx(test_case) = kData + kPageSize - 3;
    test_case.state.gpr[kRsi] = 0;
}

/// Nothing but prefixes up to the end of the code's last page.
void prefixes_at_the_end(Case& test_case, unsigned count) {
    uint64_t start = kCode + kCodePages * kPageSize - count;
    CHECK(add_patch(test_case, start, Bytes(count, 0x66)));
    test_case.state.rip = test_case.code_start = start;
    test_case.code_size = count;
}

void no_flags(Case& test_case) { test_case.state.rflags &= ~kArithmeticFlags; }

/// Of accesses by RCX.
void check_alignment(Case& test_case, uint64_t address) {
    rcx(test_case) = address;
    test_case.state.rflags |= kFlagAc;
}

/// To the code behind the branch.
void far_pointer(Case& test_case, unsigned offset_size) {
    constexpr uint16_t kUserCodeSelector = 0x33;
    rcx(test_case) = kData + 0x100;
    CHECK(add_patch(test_case, rcx(test_case), kCode + 0x120, offset_size));
    CHECK(add_patch(test_case, rcx(test_case) + offset_size, kUserCodeSelector, 2));
}

void return_to_nowhere_at(Case& test_case, uint64_t rsp) {
    test_case.state.gpr[kRsp] = rsp;
    add_patch(test_case, rsp, kNowhere, 8);
}

/// RCX, what RDX points to, and the top of the stack are an address that isn't canonical.
void to_nowhere(Case& test_case) {
    rcx(test_case) = kNowhere;
    test_case.state.gpr[kRdx] = kData + 0x40;
    add_patch(test_case, kData + 0x40, kNowhere, 8);
    return_to_nowhere_at(test_case, test_case.state.gpr[kRsp]);
}

constexpr KnownCase kKnownCases[] = {
    // A bit's unit is part of a 32-bit address before that is cut, and a segment's base is not.
    {"bit_string_by_a_32_bit_address", "\x67\x48\x0f\xbb\x11",  // btc [ecx], rdx
     [](Case& c) {
         rcx(c) = (uint64_t{5} << 32) + kData, c.state.gpr[kRdx] = uint64_t{0x4000} * 8 - (uint64_t{1} << 40);
     }},
    // What is known of one access by RSP says nothing of the next, unless RSP was aligned.
    {"misaligned_pushes_across_pages", "\x50\x51\x52\x53", misaligned_stack},
    {"misaligned_pops_across_pages", "\x58\x59\x5a\x5b",
     [](Case& c) { c.state.gpr[kRsp] = kData + kPageSize - 13; }},
    {"pushes_across_pages_after_and", "\x50\x48\x83\xe4\xf8\x51\x52\x53", misaligned_stack},
    // A page fault drops the TLB entry of its page, from which the bytes that follow were to be judged.
    {"fault_on_the_page_of_the_code", "\x80\x29\x01",
     [](Case& c) { rcx(c) = kCode + 0x900; }},  // sub byte [rcx], 1
    {"fault_elsewhere", "\x80\x29\x01", [](Case& c) { rcx(c) = kReadOnly + 0x900; }},
    {"second_page_is_absent", "\x48\x89\x01", [](Case& c) { rcx(c) = kData - 3; }},
    {"second_page_is_absent_at_the_end", "\x48\x89\x01",
     [](Case& c) { rcx(c) = kDataAfterHole + 2 * kPageSize - 3; }},
    // Alignment is checked before the page is looked for.
    {"misaligned_on_an_absent_page", "\x0f\x28\x01",
     [](Case& c) { rcx(c) = kAbsent + 8; }},  // movaps xmm0, [rcx]
    {"misaligned_on_a_read_only_page", "\x0f\x29\x01", [](Case& c) { rcx(c) = kReadOnly + 8; }},
    // A run of pushes or pops may change RSP once, but not where one of them faults.
    {"pushes_into_an_absent_page", "\x50\x51\x52\x53",
     [](Case& c) { c.state.gpr[kRsp] = kDataAfterHole + 16; }},
    {"pops_from_an_absent_page", "\x58\x59\x5a\x5b", [](Case& c) { c.state.gpr[kRsp] = kAbsent - 16; }},
    // What faults at its write has changed nothing, though it has read before.
    {"bit_of_a_read_only_page", "\x48\x0f\xab\x11",  // bts [rcx], rdx
     [](Case& c) { rcx(c) = kReadOnly + 0x100, c.state.gpr[kRdx] = 5; }},
    {"high_byte_added_to_a_read_only_page", std::string_view("\x00\x21", 2),  // add [rcx], ah
     [](Case& c) { rcx(c) = kReadOnly + 0x10; }},
    {"high_byte_to_a_read_only_page", "\x88\x21", [](Case& c) { rcx(c) = kReadOnly + 0x10; }},
    {"carry_at_an_absent_page", "\x48\x11\x01", [](Case& c) { rcx(c) = kAbsent + 8; }},  // adc [rcx], rax
    {"flags_pushed_to_an_absent_page", "\x9c", [](Case& c) { c.state.gpr[kRsp] = kDataAfterHole; }},
    // The base need not be an address.
    {"negative_base", std::string_view("\x48\x8b\x81\x00\x01\x00\x20", 7),  // mov rax, [rcx + kData + 0x100]
     [](Case& c) { rcx(c) = ~uint64_t{15}; }},
    {"not_canonical_base", std::string_view("\x48\x8b\x41\x10", 4),  // mov rax, [rcx + 16]
     [](Case& c) { rcx(c) = (uint64_t{1} << 47) - 16; }},
    {"base_just_below_zero", std::string_view("\x48\x8b\x41\x20", 4),
     [](Case& c) { rcx(c) = ~uint64_t{15}; }},
    // The stack segment has an exception of its own.
    {"not_canonical_by_rbp", "\x8b\x4d\x10", [](Case& c) { c.state.gpr[kRbp] = uint64_t{1} << 62; }},
    {"not_canonical_by_rsp", "\x8b\x4c\x24\x10", [](Case& c) { c.state.gpr[kRsp] = uint64_t{1} << 62; }},
    {"not_canonical_by_rcx", "\x8b\x09", [](Case& c) { rcx(c) = uint64_t{1} << 62; }},
    // A branch to an address that isn't canonical has done nothing.
    {"jump_to_nowhere", "\xff\xe1", to_nowhere},
    {"jump_to_nowhere_by_memory", "\xff\x22", to_nowhere},
    {"call_to_nowhere", "\xff\xd1", to_nowhere},
    {"call_to_nowhere_by_memory", "\xff\x12", to_nowhere},
    {"call_just_behind_the_user_half", "\xff\xd1", [](Case& c) { rcx(c) = uint64_t{1} << 47; }},
    {"call_just_before_the_kernel_half", "\xff\xd1",
     [](Case& c) {
         rcx(c) = ~uint64_t{0} << 47;
         --rcx(c);
     }},
    {"call_with_the_last_bits_wrong", "\xff\xd1", [](Case& c) { rcx(c) = ~uint64_t{0} << 48; }},
    {"call_with_the_first_bit_wrong", "\xff\xd1", [](Case& c) { rcx(c) = uint64_t{1} << 63; }},
    {"call_to_nowhere_on_an_absent_stack", "\xff\xd1",
     [](Case& c) { to_nowhere(c), c.state.gpr[kRsp] = kAbsent + 64; }},
    {"call_to_nowhere_across_pages", "\xff\xd1",
     [](Case& c) { to_nowhere(c), c.state.gpr[kRsp] = kData + kPageSize + 3; }},
    {"call_to_nowhere_behind_pushes", "\x50\x52\xff\xd1", to_nowhere},
    {"call_to_the_kernel_half", "\xff\xd1", [](Case& c) { rcx(c) = ~uint64_t{0xfff}; }},
    {"return_to_nowhere", "\xc3", to_nowhere},
    {"return_to_nowhere_behind_a_push", "\x51\xc3", to_nowhere},
    {"return_to_nowhere_behind_pops", "\x5a\x51\x5b\x51\xc3", to_nowhere},
    {"return_to_nowhere_with_a_number", std::string_view("\xc2\x28\x00", 3), to_nowhere},
    {"return_to_nowhere_across_pages", std::string_view("\xc2\x08\x00", 3),
     [](Case& c) { return_to_nowhere_at(c, kData + kPageSize - 3); }},
    // MMX instructions that came with SSE2 still report x87 exceptions.
    {"x87_exception_at_mmx", "\x0f\xfc\xc1", pending_x87_exception},          // paddb mm0, mm1
    {"x87_exception_at_mmx_of_sse2", "\x0f\xd4\xc1", pending_x87_exception},  // paddq mm0, mm1
    {"x87_exception_at_wait", "\x9b", pending_x87_exception},
    // It comes before the operand's faults.
    {"x87_exception_before_a_page_fault", "\xd9\x01",  // fld dword [rcx]
     [](Case& c) { pending_x87_exception(c), rcx(c) = kAbsent; }},
    {"x87_exception_before_a_page_fault_of_a_store", "\xd9\x11",  // fst dword [rcx]
     [](Case& c) { pending_x87_exception(c), rcx(c) = kReadOnly; }},
    {"x87_exception_before_a_page_fault_across_pages", "\xdd\x01",
     [](Case& c) { pending_x87_exception(c), rcx(c) = kAbsent - 4; }},
    {"x87_exception_before_not_canonical", "\xdd\x01",
     [](Case& c) { pending_x87_exception(c), rcx(c) = uint64_t{1} << 62; }},
    {"x87_exception_before_a_page_fault_of_mmx", "\x0f\x6f\x01",  // movq mm0, [rcx]
     [](Case& c) { pending_x87_exception(c), rcx(c) = kAbsent; }},
    {"x87_exception_before_an_alignment_check", "\xdd\x01",
     [](Case& c) { pending_x87_exception(c), rcx(c) = kData + 1, c.state.rflags |= kFlagAc; }},
    {"no_x87_exception_at_fnstcw", "\xd9\x39", [](Case& c) { pending_x87_exception(c), rcx(c) = kAbsent; }},
    {"x87_exception_at_fldcw", "\xd9\x29", [](Case& c) { pending_x87_exception(c), rcx(c) = kAbsent; }},
    {"x87_exception_at_frstor", "\xdd\x21", [](Case& c) { pending_x87_exception(c), rcx(c) = kAbsent; }},
    {"x87_exception_at_fldenv", "\xd9\x21", [](Case& c) { pending_x87_exception(c), rcx(c) = kAbsent; }},
    {"x87_exception_at_maskmovq", "\x0f\xf7\xc1",
     [](Case& c) { pending_x87_exception(c), c.state.gpr[kRdi] = kAbsent; }},
    {"x87_exception_at_cvtpi2ps_from_memory", "\x0f\x2a\x01",
     [](Case& c) { pending_x87_exception(c), rcx(c) = kAbsent; }},
    {"x87_exception_at_movdq2q", "\xf2\x0f\xd6\xc1", pending_x87_exception},
    // Stores that don't happen, where the engine keeps the bytes aside first.
    {"store_that_fails", kFbstp,
     [](Case& c) {
         unstorable(c);
         rcx(c) = kData + 0x100;
     }},
    {"store_that_fails_across_pages", kFbstp,
     [](Case& c) {
         unstorable(c);
         rcx(c) = kData + kPageSize - 5;
     }},
    // The trap follows one instruction, also where the next one is of another kind.
    {"trap_flag", "\x9d\x90\x90\x90", pop_trap_flag},
    {"trap_flag_before_pushfq", "\x9d\x90\x9c\x90", pop_trap_flag},
    {"trap_flag_before_int3", "\x9d\x01\xc0", pop_trap_flag},
    {"trap_flag_at_a_jump", "\x9d\xeb\x01\x90\x90", pop_trap_flag},
    // Alignment is checked by the size of the access, before its page is looked for.
    {"alignment_checks_at_locked_add", "\xf0\x48\x01\x01", [](Case& c) { check_alignment(c, kData + 4); }},
    {"alignment_checks_at_locked_split_add", "\xf0\x48\x01\x01",
     [](Case& c) { check_alignment(c, kData + kPageSize - 4); }},
    {"alignment_checks_before_the_page", "\x8b\x01", [](Case& c) { check_alignment(c, kAbsent + 2); }},
    {"alignment_checks_behind_canonical", "\x8b\x01",
     [](Case& c) { check_alignment(c, (uint64_t{1} << 62) + 1); }},
    {"alignment_checks_of_bytes", "\x8a\x01\x00\x01", [](Case& c) { check_alignment(c, kData + 1); }},
    {"alignment_checks_of_pushes", "\x50\x66\x50\x50",
     [](Case& c) { check_alignment(c, kData), c.state.gpr[kRsp] = kData + 0x1008; }},
    {"alignment_checks_of_80_bits_by_8", "\xdb\x39", [](Case& c) { check_alignment(c, kData + 8); }},
    {"alignment_checks_of_80_bits_by_4", "\xdb\x39", [](Case& c) { check_alignment(c, kData + 4); }},
    {"alignment_checks_of_movups", "\x0f\x10\x01", [](Case& c) { check_alignment(c, kData + 8); }},
    {"alignment_checks_of_strings", "\xf3\xa5",  // rep movsd
     [](Case& c) {
         check_alignment(c, 20);
         c.state.rflags &= ~uint64_t{kFlagDf};
         c.state.gpr[kRsi] = kData + 0x100, c.state.gpr[kRdi] = kData + 0x802;
     }},
    {"alignment_checks_of_fnstenv", "\xd9\x31", [](Case& c) { check_alignment(c, kData + 2); }},
    {"alignment_checks_of_narrow_fnstenv", "\x66\xd9\x31", [](Case& c) { check_alignment(c, kData + 2); }},
    {"alignment_checks_of_far_pointers", "\xff\x29",
     [](Case& c) { far_pointer(c, 4), check_alignment(c, kData + 0x102); }},
    {"alignment_checks_of_prefetches", "\x0f\x18\x09\x0f\xae\x39",  // and of CLFLUSH: none
     [](Case& c) { check_alignment(c, kData + 1); }},
    {"alignment_checks_turned_on", "\x9d\x8b\x01",  // popfq ; mov eax, [rcx]
     [](Case& c) {
         rcx(c) = kData + 1;
         add_patch(c, c.state.gpr[kRsp], 0x202 | kFlagAc, 8);
     }},
    {"alignment_checks_turned_off", "\x9d\x8b\x01",
     [](Case& c) { check_alignment(c, kData + 1), add_patch(c, c.state.gpr[kRsp], 0x202, 8); }},
    // Hints are no accesses, whatever their operand is: it crosses pages here, or there is no page.
    {"bndstx_across_pages", "\x0f\x1b\x04\x0e", hint_across_pages},
    {"bndldx_across_pages", "\x0f\x1a\x04\x0e", hint_across_pages},
    {"bndmov_across_pages", "\x66\x0f\x1a\x01", hint_across_pages},
    {"bndmov_to_memory_across_pages", "\x66\x0f\x1b\x01", hint_across_pages},
    {"bndcl_across_pages", "\xf3\x0f\x1a\x01", hint_across_pages},
    {"bndcu_across_pages", "\xf2\x0f\x1a\x01", hint_across_pages},
    {"bndcn_across_pages", "\xf2\x0f\x1b\x01", hint_across_pages},
    {"bndmk_across_pages", "\xf3\x0f\x1b\x01", hint_across_pages},
    {"bnd_of_a_register", "\x0f\x1b\xc1"},
    {"bnd_beyond_the_third", "\xf3\x0f\x1b\x21", hint_across_pages},
    {"bnd_by_r9", "\xf3\x45\x0f\x1b\x21", hint_across_pages},
    {"bndmov_relative_to_rip", std::string_view("\x66\x0f\x1a\x05\x00\x00\x00\x70", 8)},
    {"bndldx_relative_to_rip", std::string_view("\x0f\x1a\x05\x00\x00\x00\x70", 7)},
    {"cldemote_on_an_absent_page", "\x0f\x1c\x01", [](Case& c) { rcx(c) = kAbsent; }},
    {"nop_of_0f18_on_an_absent_page", "\x0f\x18\x21", [](Case& c) { rcx(c) = kAbsent; }},
    {"locked_hint", "\xf0\x0f\x1c\x01", hint_across_pages},
    {"f3_before_xchg_with_r8", "\xf3\x41\x90"},
    {"f3_before_xchg_with_r8_wide", "\xf3\x49\x90"},
    {"f3_before_rex_before_66_before_nop", "\xf3\x41\x66\x90"},
    {"fifteen_bytes", "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90"},
    {"sixteen_bytes", "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90"},
    {"sixteen_bytes_by_an_immediate", "\x2e\x2e\x2e\x2e\x2e\x2e\x48\xb8\x11\x11\x11\x11\x11\x11\x11\x11"},
    {"fifteen_bytes_and_a_missing_page", "", [](Case& c) { prefixes_at_the_end(c, 15); }},
    {"fourteen_bytes_and_a_missing_page", "", [](Case& c) { prefixes_at_the_end(c, 14); }},
    {"clflush_of_an_absent_page", "\x0f\xae\x39", [](Case& c) { rcx(c) = kAbsent + 3; }},
    {"clflush_not_canonical", "\x0f\xae\x39", [](Case& c) { rcx(c) = uint64_t{1} << 62; }},
    {"clflush_not_canonical_by_rsp", "\x0f\xae\x3c\x24",
     [](Case& c) { c.state.gpr[kRsp] = uint64_t{1} << 62; }},
    {"clflush", "\x0f\xae\x39", [](Case& c) { rcx(c) = kData + 3; }},
    {"wrss_to_an_absent_page", "\x0f\x38\xf6\x01", [](Case& c) { rcx(c) = kAbsent; }},
    {"wrss", "\x48\x0f\x38\xf6\x01", [](Case& c) { rcx(c) = kData; }},
    {"wruss_to_an_absent_page", "\x66\x0f\x38\xf5\x01", [](Case& c) { rcx(c) = kAbsent; }},
    {"incssp", "\xf3\x0f\xae\xe9"},
    {"rdssp", "\xf3\x0f\x1e\xc8"},
    {"endbr", "\xf3\x0f\x1e\xfa"},
    {"f2_before_loope", "\xf2\xe1\x02\xb0\x07\x90"},
    {"f3_before_loope", "\xf3\xe1\x02\xb0\x07\x90"},
    {"f2_before_loopne", "\xf2\xe0\x02\xb0\x07\x90"},
    {"f3_before_loopne", "\xf3\xe0\x02\xb0\x07\x90"},
    {"f2_before_loope_without_zf", "\xf2\xe1\x02\xb0\x07\x90", no_flags},  // mov al, 7
    {"f3_before_loope_without_zf", "\xf3\xe1\x02\xb0\x07\x90", no_flags},
    {"f2_before_loopne_without_zf", "\xf2\xe0\x02\xb0\x07\x90", no_flags},
    {"f3_before_loopne_without_zf", "\xf3\xe0\x02\xb0\x07\x90", no_flags},
    {"f2_before_f3_before_loopne", "\xf2\xf3\xe0\x02\xb0\x07\x90"},
    {"f3_before_f2_before_loope", "\xf3\xf2\xe1\x02\xb0\x07\x90"},
    // Behind REX.B and 67 an operand without a base is still none by R13.
    {"narrow_displacement_with_rex_b", std::string_view("\x67\x41\x8b\x04\x25\x10\x00\x00\x20", 9)},
    {"narrow_index_with_rex_b", std::string_view("\x67\x41\x8b\x04\x8d\x10\x00\x00\x20", 9),
     [](Case& c) { rcx(c) = 7; }},
    {"narrow_fnstenv_with_rex_b", std::string_view("\x67\x41\xd9\x34\x25\x10\x00\x00\x20", 9)},
    // In the window a misaligned operand of the kernel's half is a page fault as any other.
    {"movups_of_the_kernel", "\x0f\x10\x01", [](Case& c) { rcx(c) = ~uint64_t{0x7ffe}; }},
    {"push_from_the_kernel_to_nowhere", "\xff\x31",  // the first access counts
     [](Case& c) { rcx(c) = ~uint64_t{0x7fff}, c.state.gpr[kRsp] = uint64_t{1} << 62; }},
    {"refused_call_with_live_flags", "\x20\x11\xff\xd6",  // and [rcx], dl ; call rsi
     [](Case& c) {
         rcx(c) = kData + 0x100, c.state.gpr[kRdx] = 0x55, c.state.gpr[kRsi] = uint64_t{1} << 62;
     }},
    // Flags that the next instructions overwrite unread, and a fault shows before.
    {"dead_flags_at_a_load", "\x01\xca\x48\x8b\x06\x31\xc0",  // add edx, ecx ; mov rax, [rsi] ; xor eax, eax
     [](Case& c) { c.state.gpr[kRsi] = kAbsent; }},
    {"dead_flags_at_their_overwriter", "\x01\xca\x39\x06",  // add edx, ecx ; cmp [rsi], eax
     [](Case& c) { c.state.gpr[kRsi] = kAbsent; }},
    {"dead_flags_at_no_address",
     "\x8b\x11\x01\xca\x39\x06",  // mov edx, [rcx] ; add edx, ecx ; cmp [rsi], eax
     [](Case& c) { rcx(c) = kData + 0x100, c.state.gpr[kRsi] = rcx(c) | uint64_t{1} << 62; }},
    {"dead_flags_at_rsm", "\x01\xca\x0f\xaa"},                         // which would load them
    {"dead_flags_at_a_second_access", "\x39\x11\x48\x8b\x06\x31\xc0",  // cmp [rcx], edx ; mov rax, [rsi]
     [](Case& c) { rcx(c) = kData + 0x100, c.state.gpr[kRsi] = kAbsent; }},
    {"dead_flags_at_a_division",
     "\x01\xca\x31\xc9\x83\xc2\x05\xf7\xf1\x31\xc0"},  // ... div ecx ; xor eax, eax
    {"dead_flags_at_an_sse_exception", "\x01\xca\x0f\xae\x16\x0f\x51\xc0\x31\xc0",
     [](Case& c) {  // add edx, ecx ; ldmxcsr [rsi] ; sqrtps xmm0, xmm0 ; xor eax, eax
         c.state.gpr[kRsi] = kData + 0x100;
         add_patch(c, kData + 0x100, 0, 4);
     }},
    {"f3_before_loop", "\xf3\xe2\x02\x90\xf9\x90"},
    {"f3_before_jrcxz", "\xf3\xe3\x02\x90\xf9\x90"},
    {"f2_before_jz", "\xf2\x74\x02\x90\xf9\x90"},
    {"f3_before_jz", "\xf3\x74\x02\x90\xf9\x90"},
    {"66_before_jz", "\x66\x74\x02\x90\xf9\x90"},
    {"far_jump_by_48_bits", "\xff\x29", [](Case& c) { far_pointer(c, 4); }},
    {"far_jump_by_80_bits", "\x48\xff\x29", [](Case& c) { far_pointer(c, 8); }},
    {"far_call_by_48_bits", "\xff\x19", [](Case& c) { far_pointer(c, 4); }},
    {"far_call_by_80_bits", "\x48\xff\x19", [](Case& c) { far_pointer(c, 8); }},
};

}  // namespace

std::vector<Case> generate_known_cases() {
    std::vector<Case> cases;
    for (const KnownCase& known : kKnownCases) {
        Random random(3);
        Case test_case;
        test_case.name = fmt::format("known:{}", known.name);
        randomise_state(random, test_case.state);
        test_case.state.fx = random_fx(random, true);
        set_control_word(test_case, 0x37f);
        set_word(test_case, 2, 0);
        test_case.state.rflags = 0x202 | kArithmeticFlags;
        test_case.state.gpr[kRsp] = kData + 0x2000;
        test_case.state.rip = test_case.code_start = kCode + 0x100;
        Bytes code(known.code.begin(), known.code.end());
        code.push_back(0xcc);
        test_case.code_size = static_cast<unsigned>(code.size());
        CHECK(add_patch(test_case, test_case.code_start, std::move(code)));
        if (known.prepare) known.prepare(test_case);
        cases.push_back(std::move(test_case));
    }
    return cases;
}

}  // namespace lockstep::instructions
