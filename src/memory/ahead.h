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
    /// Takes the next piece of [start, start + bytes); `start` is the same in each call, and on a huge page's
    /// border. False: all of it is there, or the host can't do this.
    bool take(void* start, uint64_t bytes) {
        if (taken_ >= bytes) return false;
        uint64_t size = bytes - taken_ < kPiece ? bytes - taken_ : kPiece;
        void* piece = static_cast<uint8_t*>(start) + taken_;
        taken_ += size;
        if (madvise(piece, size, MADV_POPULATE_WRITE) == 0) return true;
        taken_ = ~uint64_t{0};
        return false;
    }

  private:
    static constexpr uint64_t kPiece = 2 << 20;  ///< a huge page
    uint64_t taken_ = 0;
};

}  // namespace lockstep::memory
