// SPDX-License-Identifier: Apache-2.0
#include "memory/placement.h"

#include <atomic>

namespace lockstep::memory {

void* apart_from_programs(uint64_t bytes) {
    constexpr uint64_t kStart = 0x1000'0000'0000, kEnd = 0x5000'0000'0000, kGrain = 1 << 30;
    static std::atomic<uint64_t> next{kStart};
    uint64_t size = (bytes + kGrain - 1) / kGrain * kGrain;
    uint64_t at = next.fetch_add(size);
    return at < kEnd && size < kEnd - at ? reinterpret_cast<void*>(at) : nullptr;
}

}  // namespace lockstep::memory
