// SPDX-License-Identifier: Apache-2.0
// What is looked at before a VM starts on this host. `lockstep check` shows all of it, and `lockstep run`
// begins with it, so that the two don't disagree: what can be known before belongs here, what can change at
// any moment (a lock, a name in use, the arbiter's verdict) shows itself when the VM starts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vmm/link_security.h"
#include "vmm/machine_factory.h"

namespace lockstep::vmm {

struct StartCheck {
    VmSettings settings;  ///< as given, with the CPU model that the VM will have (cpu_choice.h)
    std::vector<std::string> obstacles;  ///< sentences with remedies; empty: none
    std::vector<std::string> others;     ///< of protection.hosts, without this host
    Bytes configuration;                 ///< the machine's
    uint64_t configured_ns = 0;          ///< when that was made: monotonic_ns() of the host
};

/// `this_host`: as Environment::this_host.
StartCheck check_start(const VmSettings& settings, const std::string& this_host, const LinkSecurity& security,
                       MachineFactory& factory);

/// What the VM's process needs of its host.
Result<void> check_resources(const VmSettings& settings);

/// Whether the arbiter can be asked, and asked to write. Waits as long as the storage does.
Result<void> check_arbiter(const VmSettings& settings);

}  // namespace lockstep::vmm
