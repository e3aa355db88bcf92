// SPDX-License-Identifier: Apache-2.0
// How a stop request reaches a running guest.
#pragma once

#include <cstdint>

namespace lockstep::translate {

enum class StopUrgency : uint8_t {
    kAtOnce,    ///< by a signal: at the end of a block, for some 5 us of either thread's time
    kAtGlance,  ///< when the engine looks next (Vcpu::set_glance())
};

}  // namespace lockstep::translate
