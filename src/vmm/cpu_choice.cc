// SPDX-License-Identifier: Apache-2.0
#include "vmm/cpu_choice.h"

#include "base/check.h"
#include "host/limits.h"

namespace lockstep::vmm {

Result<void> fix_cpu_model(VmSettings& settings) {
    if (settings.cpu == CpuChoice::kBest) settings.cpu = static_cast<CpuChoice>(host::best_cpu_model());
    std::string missing = host::missing_features(cpu_model(settings));
    if (missing.empty() || settings.cpu == CpuChoice::kV2)
        return {};  // what every guest needs is asked elsewhere
    return error(
        "VM {} wants the CPU model {}, and this host's processor lacks {}; write cpu = \"{}\", or use "
        "another host",
        settings.name, x86::name_of(cpu_model(settings)), missing, x86::name_of(host::best_cpu_model()));
}

x86::CpuModel cpu_model(const VmSettings& settings) {
    CHECK(settings.cpu != CpuChoice::kBest, "VM {} has no CPU model yet", settings.name);
    return static_cast<x86::CpuModel>(settings.cpu);
}

}  // namespace lockstep::vmm
