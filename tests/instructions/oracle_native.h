// SPDX-License-Identifier: Apache-2.0
// The child's side of the oracle: one case at a time on the bare CPU of this very process.
#pragma once

#include "base/result.h"
#include "sandbox.h"
#include "x86/features.h"

namespace lockstep::instructions {

/// Maps the sandbox at its addresses and installs the signal handlers. Returns the sandbox's pages as one
/// writable image. For a process that does nothing else.
Result<Image*> prepare_native_sandbox();

/// The best CPU model that the host can be.
x86::CpuModel host_model();
inline bool host_has_avx() { return host_model() >= x86::CpuModel::kV3; }

/// The base of FS or GS that a program can have here instead of `wanted`. Where the kernel doesn't know
/// FSGSBASE, it lies in the lower half.
uint64_t settable_base(uint64_t wanted);

/// Runs from `state` until an exception; the memory of `outcome` is not set. `single_step` counts
/// instructions.
void run_native(const UserState& state, bool single_step, Outcome& outcome);

}  // namespace lockstep::instructions
