// SPDX-License-Identifier: Apache-2.0
// A fixed array for the engine's tables, on the host's huge pages where it has any: tables of megabytes that
// are reached at random cost a TLB miss an access otherwise. Its memory is taken when it is first touched.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "base/check.h"
#include "memory/ahead.h"
#include "memory/placement.h"

namespace lockstep::memory {

template <typename T>
class LargeArray {
    static_assert(std::is_trivially_destructible_v<T>);

  public:
    /// `count` elements, all bytes zero.
    explicit LargeArray(size_t count) : count_(count) {
        size_t bytes = mapped_bytes();
        mapping_ = mmap(apart_from_programs(bytes), bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHECK(mapping_ != MAP_FAILED, "the host refuses {} MiB of address space for the engine's tables",
              bytes >> 20);
        uint64_t start = (reinterpret_cast<uint64_t>(mapping_) + kHugePage - 1) & ~(kHugePage - 1);
        data_ = reinterpret_cast<T*>(start);
        madvise(data_, bytes - kHugePage, MADV_HUGEPAGE);  // a wish only
    }
    ~LargeArray() { munmap(mapping_, mapped_bytes()); }
    LargeArray(const LargeArray&) = delete;
    LargeArray& operator=(const LargeArray&) = delete;

    size_t size() const { return count_; }
    T* data() { return data_; }
    T& operator[](size_t index) { return data_[index]; }
    const T& operator[](size_t index) const { return data_[index]; }
    std::span<T> all() { return {data_, count_}; }
    /// Takes a piece of the memory of the first `count` elements from the host; false: it has all of it.
    bool take_ahead(size_t count) { return ahead_.take(data_, count * sizeof(T)); }
    /// Gives the memory of all elements from `first` on back to the host; whole pages of them are zero then.
    void give_back(size_t first = 0) { ahead_.give_back(data_ + first, (count_ - first) * sizeof(T)); }

  private:
    static constexpr size_t kHugePage = 2 << 20;
    size_t mapped_bytes() const {
        return ((count_ * sizeof(T) + kHugePage - 1) & ~(kHugePage - 1)) + kHugePage;
    }

    size_t count_;
    void* mapping_;
    T* data_;
    Ahead ahead_;
};

/// A list of at most so many elements, in a LargeArray.
template <typename T>
class LargeList {
  public:
    explicit LargeList(size_t capacity) : array_(capacity) {}

    bool has_room(size_t count) const { return size_ + count <= array_.size(); }
    size_t size() const { return size_; }
    T& add(const T& element) {
        CHECK(size_ < array_.size());
        return array_[size_++] = element;
    }
    T& operator[](size_t index) { return array_[index]; }
    const T& operator[](size_t index) const { return array_[index]; }
    T* begin() { return array_.data(); }
    T* end() { return array_.data() + size_; }
    void clear() { size_ = 0; }
    /// Takes a piece of the memory of the next elements from the host; false: there is enough for a while.
    bool take_ahead() {
        return array_.take_ahead(std::min(array_.size(), size_ + array_.size() / kShareAhead));
    }

    /// Gives the memory behind its elements back to the host.
    void give_back() { array_.give_back(size_); }

  private:
    static constexpr size_t kShareAhead = 16;  ///< take_ahead() keeps this part of the capacity ready
    LargeArray<T> array_;
    size_t size_ = 0;
};

}  // namespace lockstep::memory
