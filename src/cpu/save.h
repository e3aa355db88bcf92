// SPDX-License-Identifier: Apache-2.0
// Saving, loading and hashing the vCPU's state: one list of fields, in a fixed order, never raw structs.
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "cpu/cpu_state.h"

namespace lockstep::cpu {

void save(const CpuState& state, ByteWriter& out);
/// The caller clears the MMU afterwards.
Result<void> load(CpuState& state, ByteReader& in);
/// The hash of what save() writes.
uint64_t hash(const CpuState& state);

}  // namespace lockstep::cpu
