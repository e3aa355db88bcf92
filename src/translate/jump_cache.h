// The jump cache: where an indirect branch, or a direct one to another page, guesses its block.
//
// A table of 65,536 host addresses indexed by index_of() the target; the block found there compares the target
// with its own address (block_builder.h, checked entry). User code has one table for each address space,
// kernel code one in all. An entry exists only for pages that the TLB holds as fetched, and goes with them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/strong.h"

namespace lockstep::translate {

class JumpCache {
  public:
    /// Low bits alone would let hot functions of a large program push each other out.
    static constexpr uint8_t kIndexShift = 12;
    static constexpr uint16_t index_of(uint64_t pc) { return static_cast<uint16_t>(pc + (pc >> kIndexShift)); }

    /// `miss` is where empty entries lead.
    explicit JumpCache(const uint8_t* miss);

    uint64_t table() const { return reinterpret_cast<uint64_t>(table_.get()); }
    /// What a branch to `pc` finds; perhaps the miss.
    const uint8_t* find(uint64_t pc) const { return table_[index_of(pc)]; }
    void insert(uint64_t pc, const uint8_t* checked_entry);
    /// Forgets `checked_entry` if it is what `pc` finds.
    void remove(uint64_t pc, const uint8_t* checked_entry);
    void drop_page(uint64_t page);
    void clear();

  private:
    static constexpr size_t kEntries = 1 << 16;

    const uint8_t* miss_;
    std::unique_ptr<const uint8_t*[]> table_;
    std::unordered_map<uint64_t, std::vector<uint16_t>> filled_;  // by page of the target
};

}  // namespace lockstep::translate
