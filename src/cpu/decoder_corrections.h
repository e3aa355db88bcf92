// SPDX-License-Identifier: Apache-2.0
// What the decoder gets wrong.
#pragma once

#include <Zydis/Zydis.h>

namespace lockstep::cpu {

/// Zydis 4.0 reads R13 as the base of a SIB operand with 32-bit addresses that has none (mod 0, base 5, REX.B):
/// such an operand is the displacement, with or without an index.
inline void correct_operands(const ZydisDecodedInstruction& instruction, ZydisDecodedOperand* operands) {
    bool no_base = (instruction.attributes & ZYDIS_ATTRIB_HAS_SIB) && instruction.raw.modrm.mod == 0 &&
                   instruction.raw.sib.base == 5 && instruction.address_width == 32;
    if (!no_base) return;
    for (unsigned i = 0; i < instruction.operand_count_visible; ++i) {
        if (operands[i].type != ZYDIS_OPERAND_TYPE_MEMORY ||
            operands[i].visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
            continue;
        operands[i].mem.base = ZYDIS_REGISTER_NONE;
        operands[i].mem.disp.has_displacement = ZYAN_TRUE;
        operands[i].mem.disp.value = instruction.raw.disp.value;
    }
}

}  // namespace lockstep::cpu
