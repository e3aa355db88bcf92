// SPDX-License-Identifier: Apache-2.0
// Where direct branches to other pages lead.
//
// Which block lies at an address of user code depends on the address space, so such a branch can't be
// chained. So it is with kernel code where the upper half isn't the same in all spaces. Each address that one
// of them leads to has a slot of its own, and each space a table of slots: the branch jumps through `table of
// the present space [slot]`. Since a slot stands for one address alone, the block there needn't verify
// anything (the jump cache's must).
//
// LIFE CYCLE. A slot is made when a branch to its address is translated, or copied, and lives until that
// shelf of the code cache is cleared. It leads to the miss trampoline (with its number in r13) until that
// finds the block in the jump index (jump_index.h), or the dispatcher has been there, in this space. It leads
// there again when the block dies, or the TLB of this space no longer holds the block's page as fetched. A
// journal of what was filled makes a flush of the TLB cost what was used.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <vector>

#include "memory/large_array.h"
#include "translate/code_cache.h"
#include "translate/jump_cache.h"

namespace lockstep::translate {

class DirectTargets {
  public:
    /// Slots that have been filled since the space was dropped, some of them more than once. Written by
    /// trampolines.cc.
    struct Journal {
        uint32_t* next;
        uint32_t* end;
    };

    /// Where empty slots lead.
    struct Misses {
        const uint8_t* user;
        const uint8_t* window;  ///< of kWindowWays
        const uint8_t* kernel;
    };

    DirectTargets(size_t capacity, const Misses& misses);

    bool has_room(size_t count) const { return free_.size() >= count || addresses_.has_room(count); }
    /// The slot of a guest address, for code on a shelf; made where there is none.
    uint32_t slot_of(uint64_t pc, Shelf user);
    uint64_t address_of(uint32_t slot) const { return addresses_[slot]; }
    /// What translated code of a space, or in the window, uses; see kWays.
    uint64_t table(unsigned ways) { return reinterpret_cast<uint64_t>(table_of(ways)); }

    uint64_t journal(unsigned ways) const { return reinterpret_cast<uint64_t>(&journals_[ways]); }
    uint64_t addresses() { return reinterpret_cast<uint64_t>(addresses_.begin()); }

    /// The slot of the block's address leads to it, there.
    void fill(unsigned ways, const Block& block);
    /// Whether fill() may have been used for a page.
    bool may_lead_to(unsigned ways, uint64_t page) const { return filled_[ways].test(list_of(page)); }
    /// Drops at least what leads to a page.
    void drop_page(unsigned ways, uint64_t page);
    void drop_ways(unsigned ways);
    void forget(const Block& block);
    /// Takes a piece of the tables' memory from the host; false: it has all of it.
    bool take_memory_ahead();
    /// Gives their memory back to the host; there must be no slots.
    void give_memory_back();
    /// Forgets the slots that copies alone refer to, and what all others lead to.
    void forget_copies();
    /// Clears all slots: no code refers to them any more.
    void clear();

  private:
    static constexpr size_t kLists = 4096;

    static size_t list_of(uint64_t pc) { return pc / kPageSize % kLists; }
    const uint8_t** table_of(unsigned ways) { return tables_.data() + ways * capacity_; }
    size_t home_of(uint64_t pc) const;
    size_t next(size_t bucket) const { return (bucket + 1) % buckets_.size(); }
    size_t bucket_of(uint64_t pc) const;
    uint32_t new_slot(uint64_t pc);
    void enter_slot(uint32_t slot);
    void clear_index();
    uint32_t* journal_start(unsigned ways) { return journal_entries_.data() + ways * capacity_; }

    size_t capacity_;
    const uint8_t* miss_of(unsigned ways) const { return misses_[ways]; }

    std::array<const uint8_t*, kWays> misses_{};
    memory::LargeArray<const uint8_t*> tables_;  // capacity_ for each of kWays
    memory::LargeList<uint64_t> addresses_;      // by slot
    memory::LargeArray<bool> translated_;        // by slot: translated code refers to it, not copies alone
    std::vector<uint32_t> free_;                 // slots
    memory::LargeArray<uint32_t> buckets_;       // slot + 1 by hash of the address; 0: empty
    std::vector<std::vector<uint32_t>> lists_;   // slots by page number, modulo kLists
    memory::LargeArray<uint32_t> journal_entries_;
    std::array<Journal, kWays> journals_{};
    std::array<std::bitset<kLists>, kWays> filled_;  // by fill()
};

}  // namespace lockstep::translate
