// SPDX-License-Identifier: Apache-2.0
// The configuration of a host (host.toml in the configuration folder), as docs/operation.md describes it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "vmm/allowances.h"

namespace lockstep::control {

/// What hosts may name that want backups here; without a file what Allowances has to begin with.
Result<vmm::Allowances> load_allowances();

/// The same from text; `file` is its path.
Result<vmm::Allowances> parse_allowances(std::string_view text, const std::string& file);

}  // namespace lockstep::control
