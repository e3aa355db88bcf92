// SPDX-License-Identifier: Apache-2.0
// Model-specific registers. Those of the local APIC and of time are the platform's.
#pragma once

#include "cpu/cpu.h"

namespace lockstep::cpu {

/// False: the register doesn't exist, or refuses the value: a general protection fault.
[[nodiscard]] bool read_msr(Cpu& cpu, uint32_t number, uint64_t& value);
[[nodiscard]] bool write_msr(Cpu& cpu, uint32_t number, uint64_t value);

}  // namespace lockstep::cpu
