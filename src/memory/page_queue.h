// SPDX-License-Identifier: Apache-2.0
// Copies of pages on their way from one thread to another; as many as there is room for.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>

#include "base/strong.h"

namespace lockstep::memory {

class PageQueue {
  public:
    explicit PageQueue(size_t capacity)
        : capacity_(capacity),
          numbers_(std::make_unique<uint64_t[]>(capacity)),
          contents_(std::make_unique_for_overwrite<uint8_t[]>(capacity * kPageSize)) {}

    /// The one thread: false where it is full.
    bool push(uint64_t page, const uint8_t* contents) {
        uint64_t at = pushed_.load(std::memory_order_relaxed);
        if (at - taken_.load(std::memory_order_acquire) == capacity_) return false;
        numbers_[at % capacity_] = page;
        std::memcpy(place(at), contents, kPageSize);
        pushed_.store(at + 1, std::memory_order_release);
        return true;
    }

    /// The other thread: calls `use(page, contents)` for the oldest one; false where there is none.
    template <typename Use>
    bool take(Use use) {
        uint64_t at = taken_.load(std::memory_order_relaxed);
        if (at == pushed_.load(std::memory_order_acquire)) return false;
        use(numbers_[at % capacity_], place(at));
        taken_.store(at + 1, std::memory_order_release);
        return true;
    }

  private:
    uint8_t* place(uint64_t at) { return &contents_[at % capacity_ * kPageSize]; }

    size_t capacity_;
    std::unique_ptr<uint64_t[]> numbers_;
    std::unique_ptr<uint8_t[]> contents_;
    std::atomic<uint64_t> pushed_ = 0, taken_ = 0;
};

}  // namespace lockstep::memory
