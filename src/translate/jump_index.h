// SPDX-License-Identifier: Apache-2.0
// The jump index: blocks that branches have found before, by guest-physical and virtual address.
//
// A guest with more processes than address-space tags flushes the TLB at most switches, and a jump cache
// holds nothing then but what was fetched since. Here the blocks stay: once a page has been fetched again,
// all its targets are found by a few dozen instructions of the trampolines (Trampolines, jump miss) instead
// of one trip through the dispatcher for each (100 to 1000 ns, 1,600 of them between two switches of
// PostgreSQL's processes).
//
//     JumpCache miss -> JumpCache::Page of the target's page: where it is mapped
//                    -> JumpIndex entry of that place and the target: the block; remembered in the JumpCache
//                    -> otherwise the dispatcher
//
// An entry depends on no mapping and goes with its block. Blocks that reach into a second page are not
// entered.
#pragma once

#include <bitset>
#include <cstdint>

#include "memory/large_array.h"
#include "translate/code_cache.h"

namespace lockstep::translate {

class JumpIndex {
  public:
    /// Read by trampolines.cc.
    struct Entry {
        uint64_t pc;
        uint64_t key;                  ///< 0: empty
        const uint8_t* checked_entry;  ///< null: only direct branches have led there
        const uint8_t* slot_entry;
    };
    static constexpr size_t kEntries = 1 << 17;
    static_assert(sizeof(Entry) == 32);

    /// The guest-physical page with the mode bits that change a translation; never 0.
    static uint64_t key_of(const Block& block) {
        return (block.physical.value() & ~kPageMask) | 1 | block.mode.number() << 1;
    }
    /// Where the entries of a page's targets begin: that of `pc` is start_of() + pc, modulo their number.
    static uint64_t start_of(uint64_t key) { return (key >> 12) * 0x9e3779b97f4a7c15 >> 40; }

    uint64_t table() { return reinterpret_cast<uint64_t>(entries_.data()); }
    /// The checked entry of the block, or null.
    const uint8_t* find(uint64_t pc, uint64_t key) const;
    void insert(const Block& block);
    void forget(const Block& block);
    void clear();

  private:
    static size_t index_of(uint64_t pc, uint64_t key) { return (start_of(key) + pc) % kEntries; }

    static constexpr size_t kChunk = 128;  ///< entries that are cleared together

    memory::LargeArray<Entry> entries_{kEntries};
    std::bitset<kEntries / kChunk> used_;  // chunks that may hold entries
};

}  // namespace lockstep::translate
