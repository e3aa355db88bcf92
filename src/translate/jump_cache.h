// SPDX-License-Identifier: Apache-2.0
// The jump cache: where an indirect branch, or a direct one to another page, guesses its block.
//
// A table of 65,536 host addresses indexed by index_of() the target; the block found there compares the
// target with its own address (block_builder.h, checked entry). User code has one table for each address
// space and one for the window; kernel code has one in all, or one for each space where the spaces hold pages
// of the kernel for themselves (Vcpu::Impl::apart). An entry exists only for pages that the TLB holds as
// fetched, and goes with them. Beside it, for those pages: where they are mapped, which leads to blocks that
// are not in it (jump_index.h).
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <vector>

#include "base/strong.h"
#include "cpu/mmu.h"
#include "memory/large_array.h"

namespace lockstep::translate {

/// Tables of ways to code: of user code one for each address space, and one for the space that has the
/// window, whose blocks want the flags elsewhere (block_builder.h); of kernel code one for each space from
/// kKernelWays on, or the first of these for all.
inline constexpr unsigned kWindowWays = cpu::kSpaces, kKernelWays = kWindowWays + 1,
                          kWays = kKernelWays + cpu::kSpaces;

class JumpCache {
  public:
    /// A page that the TLB holds as fetched. Read by trampolines.cc.
    struct Page {
        uint64_t number = kNoPage;  ///< of the guest virtual address
        uint64_t key = 0;           ///< JumpIndex::key_of() its blocks
        uint64_t start = 0;         ///< JumpIndex::start_of(key)
        uint64_t listed = 0;        ///< nonzero: its place is in noted_
    };
    static constexpr size_t kPages = 1024;
    static_assert(sizeof(Page) == 32);

    /// Low bits alone would let hot functions of a large program push each other out.
    static constexpr uint8_t kIndexShift = 12;
    static constexpr uint16_t index_of(uint64_t pc) {
        return static_cast<uint16_t>(pc + (pc >> kIndexShift));
    }

    /// `miss` is where empty entries lead.
    explicit JumpCache(const uint8_t* miss);

    uint64_t table() { return reinterpret_cast<uint64_t>(table_.data()); }
    uint64_t pages() const { return reinterpret_cast<uint64_t>(pages_.data()); }
    const uint8_t* miss() const { return miss_; }
    /// What a branch to `pc` finds; perhaps the miss.
    const uint8_t* find(uint64_t pc) const { return table_[index_of(pc)]; }
    void insert(uint64_t pc, const uint8_t* checked_entry);
    /// The page of `pc` has been fetched, and its blocks have this key in the jump index.
    void note_page(uint64_t pc, uint64_t key, uint64_t start);
    /// The key of the page of `pc`; 0 where it isn't known.
    uint64_t key_of_page(uint64_t pc) const {
        const Page& page = pages_[pc / kPageSize % kPages];
        return page.number == pc / kPageSize ? page.key : 0;
    }
    /// The block of `checked_entry` died: the entry goes if it is what `pc` finds.
    void forget(uint64_t pc, const uint8_t* checked_entry);
    /// Drops at least the entries of a page, and of instructions that reach into it.
    void drop_page(uint64_t page);
    void clear();
    /// Whether a page may have entries, or be noted.
    bool may_have(uint64_t page) const { return filled_.test(page / kPageSize % filled_.size()); }

  private:
    static constexpr uint64_t kNoPage = ~uint64_t{0};
    static constexpr size_t kEntries = 1 << 16;
    static constexpr size_t kChunk = 512;  ///< entries that are cleared together

    void clear_chunk(size_t chunk);

    const uint8_t* miss_;
    memory::LargeArray<const uint8_t*> table_{kEntries};
    std::bitset<kEntries / kChunk> used_;  // chunks that may hold entries
    std::bitset<4096> filled_;             // page numbers, modulo the size, that may have entries
    std::array<Page, kPages> pages_;       // by page number, modulo the size
    std::vector<uint16_t> noted_;          // places of pages_ that may be in use, each once

    void drop_from(uint64_t pc, size_t count);
};

}  // namespace lockstep::translate
