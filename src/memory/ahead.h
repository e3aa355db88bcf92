// SPDX-License-Identifier: Apache-2.0
// Memory that is taken from the host before it is needed.
//
// The host gives a page when it is first touched, and clears it: a tenth of a second a GiB, and twenty times
// that where the page must first come from a hypervisor. A replay that has caught up takes some ahead instead
// of waiting, so that it needn't stop for it when there is work. What is not needed any more goes back.
#pragma once

#include <sys/mman.h>

#include <cstdint>

namespace lockstep::memory {

/// How much of a mapping has been taken. Its contents don't change by it.
class Ahead {
  public:
    /// Takes the next huge page of [start, start + bytes), those included that it begins and ends in; `start`
    /// is the same in each call, and the mapping goes on to huge pages' borders. False: all of it is there, or
    /// the host can't do this.
    bool take(void* start, uint64_t bytes) {
        if (taken_ >= bytes) return false;
        void* page = reinterpret_cast<void*>((reinterpret_cast<uint64_t>(start) & ~(kHugePage - 1)) + taken_);
        taken_ += kHugePage;
        if (madvise(page, kHugePage, MADV_POPULATE_WRITE) == 0) return true;
        taken_ = kCannot;
        return false;
    }
    /// Gives the whole pages of [start, start + bytes) back; they read as zeroes then.
    void give_back(void* start, uint64_t bytes) {
        constexpr uint64_t kPage = 4096;
        uint64_t from = (reinterpret_cast<uint64_t>(start) + kPage - 1) & ~(kPage - 1);
        uint64_t to = (reinterpret_cast<uint64_t>(start) + bytes) & ~(kPage - 1);
        if (from < to) madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
        if (taken_ != kCannot) taken_ = 0;
    }

  private:
    static constexpr uint64_t kCannot = ~uint64_t{0};
    static constexpr uint64_t kHugePage = 2 << 20;
    uint64_t taken_ = 0;
};

}  // namespace lockstep::memory
