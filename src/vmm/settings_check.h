// SPDX-License-Identifier: Apache-2.0
// Whether settings can be a VM's: by the operator's file, and by another host that wants a backup of it here.
#pragma once

#include "base/result.h"
#include "vmm/settings.h"

namespace lockstep::vmm {

struct Range {
    uint64_t least, greatest;
};
inline constexpr Range kMemoryBytes{64ull << 20, 512ull << 30};  // and a multiple of kMemoryStep
inline constexpr uint64_t kMemoryStep = 2ull << 20;
inline constexpr Range kHeartbeatMs{10, 10'000};
inline constexpr Range kFailureMs{50, 60'000};
inline constexpr Range kStorageMs{0, 60'000};
inline constexpr Range kLagMs{1, 60'000};
inline constexpr Range kLogBufferBytes{1ull << 20, 4ull << 30};
inline constexpr Range kHashMs{10, 3'600'000};
inline constexpr Range kCopyRate{1ull << 20, 1ull << 40};  ///< where there is a bound
inline constexpr Range kCodeCacheBytes{1ull << 20, 2ull << 30};
inline constexpr Range kBlockLimit{1, 4096};
inline constexpr Range kRestartLimit{1, 1000};
inline constexpr size_t kLongestSerial = 20;

/// What no value can tell alone: names that stand twice, values that don't go together. The sentence names
/// the key and the remedy.
Result<void> check_whole(const VmSettings& settings);

/// Settings that came from another host: every bound that the configuration file has, too, so that they can
/// ask this host for no more than a file could.
Result<void> check_foreign(const VmSettings& settings);

}  // namespace lockstep::vmm
