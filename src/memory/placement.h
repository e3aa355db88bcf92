// SPDX-License-Identifier: Apache-2.0
// Where this process puts its large mappings: apart from where Linux puts the programs of a guest, so that
// pages of those can be mapped at the programs' own addresses (translate/host_window.h).
#pragma once

#include <cstdint>

namespace lockstep::memory {

/// A wish for mmap(), each time another one: an address for `bytes` between Linux's low programs and heaps
/// and its position-independent ones, which begin at 0x5555'5555'4000; null when that room has been handed
/// out.
void* apart_from_programs(uint64_t bytes);

}  // namespace lockstep::memory
