// SPDX-License-Identifier: Apache-2.0
#include "cpu/interpreted_counts.h"

#include <Zydis/Zydis.h>
#include <fmt/format.h>

#include "cpu/instruction.h"
#include "cpu/interpret_table.h"

namespace lockstep::cpu {

namespace {

/// Behind the mnemonics: so many kinds of MOV for each class of registers.
constexpr unsigned kMoves = ZYDIS_MNEMONIC_MAX_VALUE + 1, kRegistersOfAClass = 16;
constexpr std::array kSystemRegisters = {OperandKind::kControl, OperandKind::kDebug, OperandKind::kSegment};
static_assert(kMoves + kSystemRegisters.size() * kRegistersOfAClass <= kInstructionKinds);

std::string name_of_register(OperandKind which, unsigned number) {
    constexpr std::array<const char*, 6> kSegments = {"es", "cs", "ss", "ds", "fs", "gs"};
    if (which == OperandKind::kSegment) return number < kSegments.size() ? kSegments[number] : "?";
    return fmt::format("{}{}", which == OperandKind::kControl ? "cr" : "dr", number);
}

}  // namespace

InstructionKind kind_of(ZydisMnemonic mnemonic, const Instruction& instruction) {
    if (mnemonic == ZYDIS_MNEMONIC_MOV)
        for (const Operand& operand : instruction.operands)
            for (unsigned i = 0; i < kSystemRegisters.size(); ++i)
                if (operand.kind == kSystemRegisters[i])
                    return static_cast<InstructionKind>(kMoves + i * kRegistersOfAClass + operand.number);
    return static_cast<InstructionKind>(mnemonic);
}

std::string name_of_kind(InstructionKind kind) {
    if (kind < kMoves) return ZydisMnemonicGetString(static_cast<ZydisMnemonic>(kind));
    unsigned move = kind - kMoves;
    return "mov " + name_of_register(kSystemRegisters[move / kRegistersOfAClass], move % kRegistersOfAClass);
}

}  // namespace lockstep::cpu
