// What no key of a configuration can tell alone: names that stand twice, values that don't go together.
#pragma once

#include "base/result.h"
#include "vmm/settings.h"

namespace lockstep::control {

Result<void> check_whole(const vmm::VmSettings& settings);

}  // namespace lockstep::control
