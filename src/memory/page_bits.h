// SPDX-License-Identifier: Apache-2.0
// A set of pages that two threads may look at and change at the same time.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <utility>

namespace lockstep::memory {

class PageBits {
  public:
    /// Of pages 0 ... pages - 1; empty.
    explicit PageBits(uint64_t pages)
        : pages_(pages), words_(std::make_unique<std::atomic<uint64_t>[]>(word_count())) {}

    uint64_t pages() const { return pages_; }
    bool has(uint64_t page) const { return word(page).load(std::memory_order_relaxed) & bit(page); }
    void add(uint64_t page) { word(page).fetch_or(bit(page), std::memory_order_relaxed); }
    /// Takes a page out. True for one of those who do so at once, if it was there: whatever that one has read
    /// before was not changed by another who claims first and writes then.
    bool claim(uint64_t page) {
        return word(page).fetch_and(~bit(page), std::memory_order_acq_rel) & bit(page);
    }
    /// The first page from `page` on that is there; pages() if there is none.
    uint64_t next(uint64_t page) const {
        if (page >= pages_) return pages_;
        uint64_t index = page / 64;
        uint64_t left = words_[index].load(std::memory_order_relaxed) & ~uint64_t{0} << page % 64;
        while (!left) {
            if (++index == word_count()) return pages_;
            left = words_[index].load(std::memory_order_relaxed);
        }
        return index * 64 + static_cast<uint64_t>(std::countr_zero(left));
    }

    // For a moment at which nobody else has it.
    uint64_t count() const {
        uint64_t sum = 0;
        for (size_t i = 0; i < word_count(); ++i)
            sum += static_cast<uint64_t>(std::popcount(words_[i].load(std::memory_order_relaxed)));
        return sum;
    }
    void add_range(uint64_t first, uint64_t end) {
        for (; first < end && first % 64; ++first) add(first);
        for (; first + 64 <= end; first += 64)
            words_[first / 64].store(~uint64_t{0}, std::memory_order_relaxed);
        for (; first < end; ++first) add(first);
    }
    /// Takes all of `other` over, which is empty afterwards.
    void take_all(PageBits& other) {
        for (size_t i = 0; i < word_count(); ++i) {
            uint64_t taken = other.words_[i].load(std::memory_order_relaxed);
            if (!taken) continue;
            other.words_[i].store(0, std::memory_order_relaxed);
            words_[i].store(words_[i].load(std::memory_order_relaxed) | taken, std::memory_order_relaxed);
        }
    }

  private:
    size_t word_count() const { return (pages_ + 63) / 64; }
    static uint64_t bit(uint64_t page) { return uint64_t{1} << page % 64; }
    std::atomic<uint64_t>& word(uint64_t page) { return words_[page / 64]; }
    const std::atomic<uint64_t>& word(uint64_t page) const { return words_[page / 64]; }

    uint64_t pages_;
    std::unique_ptr<std::atomic<uint64_t>[]> words_;
};

}  // namespace lockstep::memory
