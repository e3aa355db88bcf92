// SPDX-License-Identifier: Apache-2.0
// Memory that is taken from the host before it is needed.
//
// The host gives a page when it is first touched, and clears it: a tenth of a second a GiB, and twenty times
// that where the page must first come from a hypervisor. A replay that has caught up takes some ahead instead
// of waiting, so that it needn't stop for it when there is work.
#pragma once

#include <sys/mman.h>

#include <cstdint>

namespace lockstep::memory {

/// How much of a mapping has been taken. Its contents don't change by it.
class Ahead {
  public:
    /// Takes the next huge page of [start, start + bytes); `start` is the same in each call and on a huge
    /// page's border, and the mapping goes on to such a border. False: all of it is there, or the host can't
    /// do this.
    bool take(void* start, uint64_t bytes) {
        if (taken_ >= bytes) return false;
        void* page = static_cast<uint8_t*>(start) + taken_;
        taken_ += kHugePage;
        if (madvise(page, kHugePage, MADV_POPULATE_WRITE) == 0) return true;
        taken_ = ~uint64_t{0};
        return false;
    }

  private:
    static constexpr uint64_t kHugePage = 2 << 20;
    uint64_t taken_ = 0;
};

}  // namespace lockstep::memory
