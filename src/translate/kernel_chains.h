// SPDX-License-Identifier: Apache-2.0
// Chains from one page of the kernel to another.
//
// A chain is right as long as its target's page is mapped as it was. For user code that is known only of the
// source's own page; the kernel's pages mostly are the same in all spaces and hardly ever change. So kernel
// blocks are chained across pages, and when a page goes to which such a chain leads (or all of the upper half
// of a space), all of them are undone. Where that would be at each switch of spaces there are none
// (direct_targets.h).
#pragma once

#include <bitset>
#include <vector>

#include "base/strong.h"
#include "translate/block_table.h"

namespace lockstep::translate {

class KernelChains {
  public:
    explicit KernelChains(BlockTable& table) : table_(table) {}

    /// `block` is about to become the target of a chain from another page.
    void add(Block& block);
    /// The TLB has lost a page of the upper half.
    void drop_page(uint64_t address);
    void drop_all();
    /// All blocks are gone.
    void clear();

  private:
    static size_t bit_of(uint64_t address) { return address / kPageSize % kPages; }
    static constexpr size_t kPages = 1 << 14;

    BlockTable& table_;
    std::vector<Block*> targets_;  // each once for each chain; some of them dead
    std::bitset<kPages> pages_;    // of the targets, modulo the size
};

}  // namespace lockstep::translate
