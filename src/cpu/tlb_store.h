// SPDX-License-Identifier: Apache-2.0
// Translations of one half of one address space: a table of leaves, each with the 512 pages of a 2 MiB
// region. Finding a page is one probe of a small direct-mapped cache of leaves and one index; dropping
// everything costs in proportion to what is there.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/mmu.h"

namespace lockstep::cpu {

inline constexpr unsigned kLeafPages = 512;

struct TlbLeaf {
    uint64_t region = 0;    ///< page number / kLeafPages
    uint32_t slot = 0;      ///< its place in the store's table
    bool gigabyte = false;  ///< holds pieces of a 1 GiB page
    std::array<uint64_t, kLeafPages / 64> used{};
    std::array<TlbEntry, kLeafPages> entries{};

    size_t count() const;
    /// Calls `visit(index, entry)` for each page that is present.
    template <typename Visit>
    void for_each(Visit visit) {
        for (unsigned word = 0; word < used.size(); ++word)
            for (uint64_t bits = used[word]; bits; bits &= bits - 1) {
                unsigned index = word * 64 + static_cast<unsigned>(__builtin_ctzll(bits));
                visit(index, entries[index]);
            }
    }
    void drop(unsigned index) {
        entries[index] = {};
        used[index / 64] &= ~(uint64_t{1} << index % 64);
    }
};

/// Owns the leaves of all stores and hands out empty ones.
class TlbLeafPool {
  public:
    TlbLeaf* take();
    /// It is emptied when it is taken again: a flush of many costs little.
    void give_back(TlbLeaf* leaf) { free_.push_back(leaf); }
    size_t in_use() const { return all_.size() - free_.size(); }

  private:
    std::vector<std::unique_ptr<TlbLeaf>> all_;
    std::vector<TlbLeaf*> free_;
};

class TlbStore {
  public:
    explicit TlbStore(TlbLeafPool& pool) : pool_(&pool) {}

    /// The leaf of `region`, or null.
    TlbLeaf* leaf(uint64_t region) {
        TlbLeaf*& recent = recent_[region % kRecent];
        if (recent && recent->region == region) return recent;
        TlbLeaf* found = search(region);
        if (found) recent = found;
        return found;
    }
    TlbEntry* find(uint64_t page_number) {
        TlbLeaf* in = leaf(page_number / kLeafPages);
        if (!in) return nullptr;
        TlbEntry& entry = in->entries[page_number % kLeafPages];
        return entry.present ? &entry : nullptr;
    }
    /// The leaf of `region`, made if need be.
    TlbLeaf& leaf_for_insert(uint64_t region);
    void clear();
    bool empty() const { return leaves_.empty(); }
    bool holds_at_most(size_t pages) const;
    const std::vector<TlbLeaf*>& leaves() const { return leaves_; }

  private:
    static constexpr size_t kRecent = 64;

    TlbLeaf* search(uint64_t region) const;
    void grow();
    void place(TlbLeaf* leaf);
    size_t home(uint64_t region) const { return region * 0x9e3779b97f4a7c15u >> 32 & (table_.size() - 1); }

    TlbLeafPool* pool_;
    std::array<TlbLeaf*, kRecent> recent_{};
    std::vector<TlbLeaf*> table_;
    std::vector<TlbLeaf*> leaves_;
};

}  // namespace lockstep::cpu
