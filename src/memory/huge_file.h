// SPDX-License-Identifier: Apache-2.0
// Shared memory on huge pages, which can be mapped at several addresses.
#pragma once

#include <cstdint>

namespace lockstep::memory {

/// A nameless file of `bytes` zeroes in memory, on huge pages; -1 where the host gives a process none (it
/// takes the right to mount). The caller closes it.
int open_huge_file(uint64_t bytes);

/// Makes, once, what open_huge_file() takes the right to mount for: from then on it needs none in this process, nor does the user `owner`.
/// Its root, which stays open; -1 where the host gives none.
int prepare_huge_files(uint32_t owner);

}  // namespace lockstep::memory
