// The jump cache: where an indirect branch, or a direct one to another page, guesses its block.
//
// A table of 65,536 host addresses indexed by index_of() the target; the block found there compares the
// target with its own address (block_builder.h, checked entry). User code has one table for each address
// space, kernel code one in all. An entry exists only for pages that the TLB holds as fetched, and goes with
// them.
#pragma once

#include <bitset>
#include <cstdint>

#include "base/strong.h"
#include "memory/large_array.h"

namespace lockstep::translate {

class JumpCache {
  public:
    /// Low bits alone would let hot functions of a large program push each other out.
    static constexpr uint8_t kIndexShift = 12;
    static constexpr uint16_t index_of(uint64_t pc) {
        return static_cast<uint16_t>(pc + (pc >> kIndexShift));
    }

    /// `miss` is where empty entries lead.
    explicit JumpCache(const uint8_t* miss);

    uint64_t table() { return reinterpret_cast<uint64_t>(table_.data()); }
    /// What a branch to `pc` finds; perhaps the miss.
    const uint8_t* find(uint64_t pc) const { return table_[index_of(pc)]; }
    void insert(uint64_t pc, const uint8_t* checked_entry);
    /// Forgets `checked_entry` if it is what `pc` finds.
    void remove(uint64_t pc, const uint8_t* checked_entry);
    /// Forgets at least the entries of a page, and of instructions that reach into it.
    void drop_page(uint64_t page);
    void clear();

  private:
    static constexpr size_t kEntries = 1 << 16;
    static constexpr size_t kChunk = 512;  ///< entries that are cleared together

    void clear_chunk(size_t chunk);

    const uint8_t* miss_;
    memory::LargeArray<const uint8_t*> table_{kEntries};
    std::bitset<kEntries / kChunk> used_;  // chunks that may hold entries
    std::bitset<4096> pages_;              // page numbers, modulo the size, that may have entries

    bool may_have(uint64_t page) const { return pages_.test(page / kPageSize % pages_.size()); }
    void clear_from(uint64_t pc, size_t count);
};

}  // namespace lockstep::translate
