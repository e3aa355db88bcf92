// SPDX-License-Identifier: Apache-2.0
// Guest time as a straight line over the instruction count.
#pragma once

#include <cstdint>

#include "base/strong.h"

namespace lockstep {

struct TimeLine {
    uint64_t base = 0;  ///< ticks at `start`
    Icount start;
    uint64_t rate = uint64_t{1} << 32;  ///< ticks an instruction, times 2^32

    /// Ticks at `now`, modulo 2^64.
    uint64_t at(Icount now) const {
        return base + static_cast<uint64_t>((static_cast<unsigned __int128>(now - start) * rate) >> 32);
    }
};

}  // namespace lockstep
