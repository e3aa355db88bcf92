// SPDX-License-Identifier: Apache-2.0
// The configuration of a host (host.toml in the configuration folder), as docs/operation.md describes it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "vmm/allowances.h"
#include "vmm/confinement.h"

namespace lockstep::control {

struct HostConfig {
    std::string listen;                 ///< address and port of its daemon; empty: the command line says it
    std::string api_listen;             ///< address and port of its API; empty: the command line says it
    vmm::ConfinementRules confinement;  ///< of VM processes
    vmm::Allowances allowances;
};

/// Without a file what HostConfig has to begin with.
Result<HostConfig> load_host_config();
/// The same from text; `file` is its path.
Result<HostConfig> parse_host_config(std::string_view text, const std::string& file);

/// What hosts may name that want backups here, as of now.
Result<vmm::Allowances> load_allowances();

}  // namespace lockstep::control
