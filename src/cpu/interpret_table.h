// SPDX-License-Identifier: Apache-2.0
// Between the decoder and the interpreter's table of instructions.
#pragma once

#include <Zydis/Zydis.h>

#include "cpu/instruction.h"

namespace lockstep::cpu {

struct TableRow {
    ZydisMnemonic mnemonic;
    Handler handler;
    bool sequential;
};

/// The row of `mnemonic`, or null.
const TableRow* find_row(ZydisMnemonic mnemonic);

/// Whether `size` bytes hold a whole instruction, or something that no further byte makes valid.
bool is_complete(const uint8_t* bytes, size_t size, CodeWidth width);

/// The kind under which an instruction, whole but for it, is counted.
InstructionKind kind_of(ZydisMnemonic mnemonic, const Instruction& instruction);

}  // namespace lockstep::cpu
