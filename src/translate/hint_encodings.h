// SPDX-License-Identifier: Apache-2.0
// Encodings that the decoder reads as extensions which this CPU doesn't have, or reads otherwise than a CPU.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "cpu/cpu_state.h"

namespace lockstep::translate {

inline constexpr size_t kLongestInstruction = 15;

/// Room for the bytes of an instruction.
using InstructionBytes = std::array<uint8_t, kLongestInstruction>;

/// The bytes that the decoder is to see for the instruction that `bytes` begin with: themselves, or a copy in
/// `room` of an instruction of the same length that does what the CPU makes of it.
///
/// * Opcodes 0F 18 to 0F 1F are hints where their extension (MPX, CET, CLDEMOTE) is absent, with any prefix
///   and any operand: they become the NOP 0F 1F. PREFETCHNTA to PREFETCHT2 stay.
/// * The last of F2 and F3 before LOOPNE or LOOPE says which of the two it is, whatever the opcode.
/// * F3 90 is PAUSE, but with REX.B it is XCHG with r8: F3 becomes a prefix that means nothing.
std::span<const uint8_t> as_executed(std::span<const uint8_t> bytes, cpu::CodeWidth width,
                                     InstructionBytes& room);

}  // namespace lockstep::translate
