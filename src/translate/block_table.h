// SPDX-License-Identifier: Apache-2.0
// All blocks: found by their key, thrown away by the guest-physical page that they were made from.
//
// The block key is the guest-physical address, the guest virtual address (blocks hold it as constants) and
// the mode bits that change the translation. Blocks that differ in the virtual address alone are VARIANTS: a
// library that processes map at random places. The first of them was translated; where a block isn't found,
// it may be, to be copied (block_copy.h).
//
// A page with blocks carries the `code` mark of guest memory, and neither a shadow map nor the window lets
// code write to it; a write to it throws its blocks away (self-modifying code).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/strong.h"
#include "memory/guest_memory.h"
#include "memory/large_array.h"
#include "translate/code_cache.h"

namespace lockstep::translate {

struct BlockKey {
    uint64_t physical = 0;
    uint64_t pc = 0;
    Mode mode{};
};

class BlockTable {
  public:
    using Forget = std::function<void(Block&)>;
    using CodePage = std::function<void(GuestPhys page)>;

    /// `new_code_page` takes the right to write to a page away from all translated code. `forget` hears of
    /// each block that goes alone; not of those that clear() throws away.
    BlockTable(CodeCache& cache, memory::GuestMemory& memory, CodePage new_code_page, Forget forget);

    /// The block, or null.
    Block* find(const BlockKey& key);
    /// A block that copy_block() can make the wanted one of, or null.
    const Block* find_variant(const BlockKey& key);
    void insert(Block& block);
    /// Throws away what was made from a page.
    void forget_page(GuestPhys page);
    /// Throws all copies away; the caller clears their shelf.
    void forget_copies();
    /// Throws all away; the caller clears the code cache.
    void clear();
    /// Takes a piece of the table's memory from the host; false: it has all of it.
    bool take_memory_ahead() {
        return buckets_.take_ahead(buckets_.size()) || variants_.take_ahead(variants_.size());
    }
    /// Gives its memory back to the host; it must be clear().
    void give_memory_back() {
        buckets_.give_back();
        variants_.give_back();
    }
    /// Lets the direct branch of `record` jump straight to `block`.
    void chain(uint32_t record, Block& block);
    /// Whether chain() was called for a record of kind kLink, and unchain() not since.
    static bool is_chained(const ExitRecord& record);
    /// Takes all chains to `block` back.
    void unchain(Block& block);

  private:
    /// The blocks of a page are neighbours: who looks for one will look for others, and a line of the host's cache
    /// holds eight buckets.
    size_t bucket_of(uint64_t physical, uint64_t pc) const {
        constexpr uint64_t kGuestBytes = 16;  // of a bucket
        uint64_t page = physical / kPageSize ^ pc / kPageSize * 0xd6e8feb86659fd93;
        uint64_t first = page * 0x9e3779b97f4a7c15 >> (64 - bucket_bits_);
        return (first + physical % kPageSize / kGuestBytes) & ((size_t{1} << bucket_bits_) - 1);
    }
    size_t variant_bucket_of(uint64_t physical) const { return bucket_of(physical, 0); }
    void take_from_bucket(Block& block);
    void enter(Block& block);
    void note_code_page(uint64_t page);
    void forget_chains_of_copies(Block& block);
    void forget(Block& block);

    CodeCache& cache_;
    memory::GuestMemory& memory_;
    CodePage new_code_page_;
    Forget forget_;
    unsigned bucket_bits_;
    memory::LargeArray<Block*> buckets_;      // by physical and virtual address
    memory::LargeArray<Block*> variants_;     // what copies are made of, by physical address; some dead
    memory::LargeArray<Block*> page_blocks_;  // by guest-physical page: its blocks, some of them dead
    std::vector<uint64_t> code_pages_;        // those that have blocks; some more than once
};

}  // namespace lockstep::translate
