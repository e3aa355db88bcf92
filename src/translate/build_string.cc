// SPDX-License-Identifier: Apache-2.0
// MOVS and STOS, with and without REP, where nothing special is to be done: forward, with 64-bit addresses,
// and all bytes of each operand on one page that the maps know. The host's own instruction moves them.
// Kernels clear and copy small structures with these all the time; whatever is longer, backward or unknown to
// the maps goes to the interpreter (cpu/interpret_string.cc), which counts in the same way: one instruction.
//
//     test  [rflags], DF | TF ; jnz slow        under TF each element is an instruction
//     cmp   rcx, page / size ; ja slow          with REP
//     mov   r13d, edi ; and r13d, 4095 ; lea r13d, [r13 + rcx * size] ; cmp r13d, 4096 ; ja slow
//     bextr r13, rdi, r10 ; mov r12, [write map] ; mov r13, [r12 + r13 * 8] ; test r13, r13 ; jz slow
//     lea   r12, [rdi + r13] ; shr r12, 47 ; jnz slow      an address that isn't canonical
//     lea   rdi, [rdi + r13] ; rep stos ; sub rdi, r13
//
// MOVS does the same for RSI, whose entry is kept in r14.
#include "translate/block_builder.h"
#include "translate/shadow_map.h"

namespace lockstep::translate {

namespace {

bool is_move(ZydisMnemonic mnemonic) {
    return mnemonic == ZYDIS_MNEMONIC_MOVSB || mnemonic == ZYDIS_MNEMONIC_MOVSW ||
           mnemonic == ZYDIS_MNEMONIC_MOVSD || mnemonic == ZYDIS_MNEMONIC_MOVSQ;
}

bool is_store(ZydisMnemonic mnemonic) {
    return mnemonic == ZYDIS_MNEMONIC_STOSB || mnemonic == ZYDIS_MNEMONIC_STOSW ||
           mnemonic == ZYDIS_MNEMONIC_STOSD || mnemonic == ZYDIS_MNEMONIC_STOSQ;
}

bool is_repeated(const GuestInstruction& instruction) {
    return instruction.decoded.attributes & ZYDIS_ATTRIB_HAS_REP;
}

}  // namespace

bool is_plain_string(const GuestInstruction& instruction) {
    const ZydisDecodedInstruction& decoded = instruction.decoded;
    if (decoded.meta.category != ZYDIS_CATEGORY_STRINGOP) return false;
    if (!is_move(decoded.mnemonic) && !is_store(decoded.mnemonic)) return false;
    constexpr auto kUnusual = ZYDIS_ATTRIB_HAS_REPNE | ZYDIS_ATTRIB_HAS_SEGMENT;
    return decoded.address_width == 64 && !(decoded.attributes & kUnusual);
}

void BlockBuilder::emit_string(const GuestInstruction& instruction) {
    bool move = is_move(instruction.decoded.mnemonic), repeated = is_repeated(instruction);
    auto size = static_cast<uint8_t>(instruction.decoded.operand_width / 8);
    free_flags();
    const uint8_t* slow = emit_slow_way(ExitKind::kInterpretString);
    asm_.test32_mem(kRflags, cpu::kFlagDf | cpu::kFlagTf);
    asm_.jcc_to(kNotEqual, slow);
    if (repeated) {
        asm_.cmp_imm(kHostRcx, static_cast<int32_t>(kPageSize / size));
        asm_.jcc_to(kAbove, slow);
    }
    if (move) emit_string_range(kHostRsi, kHostR14, false, repeated, size, slow);
    emit_string_range(kHostRdi, kHostR13, true, repeated, size, slow);
    note_operation();
    if (move) asm_.lea(kHostRsi, {.base = kHostRsi, .index = kHostR14});
    asm_.lea(kHostRdi, {.base = kHostRdi, .index = kHostR13});
    asm_.string_instruction(instruction.decoded.opcode, size, repeated);
    asm_.sub(kHostRdi, kHostR13);
    if (move) asm_.sub(kHostRsi, kHostR14);
}

/// Where jumps to the interpreter lead for the present instruction.
const uint8_t* BlockBuilder::emit_slow_way(ExitKind kind) {
    Fixup over = asm_.jmp_short();
    const uint8_t* slow = asm_.here();
    uint32_t record = add_record({.kind = kind, .credit = credit(), .pc = run_[index_].pc});
    cold_.push_back(
        {.fixup = asm_.jmp(), .record = record, .flags = flags_in_slot_ ? Flags::kSlot : Flags::kHost});
    asm_.bind_short(over);
    return slow;
}

/// Makes sure that all bytes at `address` lie in one page that the map has: `entry` is `host - guest`
/// afterwards.
void BlockBuilder::emit_string_range(HostReg address, HostReg entry, bool write, bool repeated, uint8_t size,
                                     const uint8_t* slow) {
    asm_.mov32(entry, address);
    asm_.and32_imm(entry, kPageMask);
    if (repeated) asm_.lea32(entry, {.base = entry, .index = kHostRcx, .scale = size});
    asm_.cmp32_imm(entry, static_cast<int32_t>(kPageSize) - (repeated ? 0 : size));
    asm_.jcc_to(kAbove, slow);
    asm_.bextr(entry, address, kHostR10);
    load_map_entry(entry, write);
    asm_.test(entry, entry);
    asm_.jcc_to(kEqual, slow);
    constexpr uint8_t kHostAddressBits = 47;
    asm_.lea(kHostR12, {.base = address, .index = entry});
    asm_.shr_imm(kHostR12, kHostAddressBits);
    asm_.jcc_to(kNotEqual, slow);
}

}  // namespace lockstep::translate
