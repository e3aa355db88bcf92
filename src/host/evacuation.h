// SPDX-License-Identifier: Apache-2.0
// A host that is to be left alone, for maintenance: a mark in the folder of running VMs, which goes when the host starts anew.
#pragma once

#include <string>

#include "base/result.h"

namespace lockstep::host {

Result<void> mark_evacuated(const std::string& runtime_base);
Result<void> clear_evacuated(const std::string& runtime_base);
bool is_evacuated(const std::string& runtime_base);

}  // namespace lockstep::host
