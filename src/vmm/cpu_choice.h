// SPDX-License-Identifier: Apache-2.0
// From what a configuration says of the CPU to the model that the guest sees.
#pragma once

#include "base/result.h"
#include "vmm/settings.h"
#include "x86/features.h"

namespace lockstep::vmm {

/// Puts the best model that this host has in the place of CpuChoice::kBest. Fails where the host lacks what the chosen one
/// needs.
Result<void> fix_cpu_model(VmSettings& settings);

/// Of settings that fix_cpu_model() has seen.
x86::CpuModel cpu_model(const VmSettings& settings);

}  // namespace lockstep::vmm
