// SPDX-License-Identifier: Apache-2.0
// How often the interpreter was given each kind of instruction: which of them would be worth a translation. Nothing of it
// is visible in the guest.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace lockstep::cpu {

/// A mnemonic; of MOV, of which the interpreter has the forms with system registers alone, such a register.
using InstructionKind = uint16_t;
inline constexpr size_t kInstructionKinds = 2048;

/// By kind, since the vCPU was made.
using InterpretedCounts = std::array<uint64_t, kInstructionKinds>;

/// As in "iretq" and "mov cr3".
std::string name_of_kind(InstructionKind kind);

}  // namespace lockstep::cpu
