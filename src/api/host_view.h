// SPDX-License-Identifier: Apache-2.0
// Hosts and tasks, as they follow from the states of the VMs.
#pragma once

#include <vector>

#include "api/answers.h"

namespace lockstep::api {

/// This host first.
Json hosts_view(const HostFacts& host, const std::vector<Json>& states);
Json tasks_view(const std::vector<Json>& states);

}  // namespace lockstep::api
