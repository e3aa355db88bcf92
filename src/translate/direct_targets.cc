// SPDX-License-Identifier: Apache-2.0
#include "translate/direct_targets.h"

#include <algorithm>
#include <bit>

namespace lockstep::translate {

DirectTargets::DirectTargets(size_t capacity, const Misses& misses)
    : capacity_(capacity),
      tables_(capacity * kWays),
      addresses_(capacity),
      translated_(capacity),
      buckets_(std::bit_ceil(capacity * 2)),
      lists_(kLists),
      journal_entries_(capacity * kWays) {
    for (unsigned ways = 0; ways < kWays; ++ways) {
        journals_[ways] = {journal_start(ways), journal_start(ways) + capacity};
        misses_[ways] = ways == kWindowWays   ? misses.window
                        : ways >= kKernelWays ? misses.kernel
                                              : misses.user;
    }
}

// Buckets in use follow one another from an address's home on.
size_t DirectTargets::home_of(uint64_t pc) const {
    constexpr uint64_t kGoldenRatio = 0x9e3779b97f4a7c15;
    return (pc * kGoldenRatio >> 32) % buckets_.size();
}

// The bucket that holds the address, or the empty one where it belongs.
size_t DirectTargets::bucket_of(uint64_t pc) const {
    size_t bucket = home_of(pc);
    while (buckets_[bucket] && addresses_[buckets_[bucket] - 1] != pc) bucket = next(bucket);
    return bucket;
}

uint32_t DirectTargets::slot_of(uint64_t pc, Shelf user) {
    uint32_t known = buckets_[bucket_of(pc)];
    uint32_t slot = known ? known - 1 : new_slot(pc);
    translated_[slot] |= user != Shelf::kCopied;
    return slot;
}

uint32_t DirectTargets::new_slot(uint64_t pc) {
    auto slot = static_cast<uint32_t>(addresses_.size());
    if (free_.empty()) {
        addresses_.add(pc);
    } else {
        slot = free_.back();
        free_.pop_back();
        addresses_[slot] = pc;
    }
    translated_[slot] = false;
    for (unsigned ways = 0; ways < kWays; ++ways) table_of(ways)[slot] = miss_of(ways);
    enter_slot(slot);
    return slot;
}

void DirectTargets::enter_slot(uint32_t slot) {
    uint64_t pc = addresses_[slot];
    buckets_[bucket_of(pc)] = slot + 1;
    lists_[list_of(pc)].push_back(slot);
}

void DirectTargets::fill(unsigned ways, const Block& block) {
    uint32_t known = buckets_[bucket_of(block.pc)];
    if (!known) return;
    uint32_t slot = known - 1;
    Journal& journal = journals_[ways];
    if (journal.next == journal.end) drop_ways(ways);
    *journal.next++ = slot;
    table_of(ways)[slot] = block.slot_entry;
    filled_[ways].set(list_of(block.pc));
    if (!block.second_page) return;
    filled_[ways].set(list_of(block.pc + kPageSize));
    std::vector<uint32_t>& second = lists_[list_of(block.pc + kPageSize)];
    if (std::ranges::find(second, slot) == second.end()) second.push_back(slot);
}

void DirectTargets::drop_page(unsigned ways, uint64_t page) {
    for (uint32_t slot : lists_[list_of(page)]) table_of(ways)[slot] = miss_of(ways);
}

void DirectTargets::drop_ways(unsigned ways) {
    Journal& journal = journals_[ways];
    for (uint32_t* slot = journal_start(ways); slot != journal.next; ++slot)
        table_of(ways)[*slot] = miss_of(ways);
    journal.next = journal_start(ways);
    filled_[ways].reset();
}

void DirectTargets::forget(const Block& block) {
    for (unsigned ways = 0; ways < kWays; ++ways) drop_page(ways, block.pc);
}

bool DirectTargets::take_memory_ahead() {
    return buckets_.take_ahead(buckets_.size()) || addresses_.take_ahead();
}

void DirectTargets::give_memory_back() {
    tables_.give_back();
    buckets_.give_back();
    journal_entries_.give_back();
    addresses_.give_back();
}

void DirectTargets::forget_copies() {
    for (unsigned ways = 0; ways < kWays; ++ways) drop_ways(ways);
    clear_index();
    free_.clear();
    for (uint32_t slot = 0; slot < addresses_.size(); ++slot) {
        if (translated_[slot]) {
            enter_slot(slot);
        } else {
            free_.push_back(slot);
        }
    }
}

void DirectTargets::clear_index() {
    for (uint64_t pc : addresses_) {  // few of them cost little
        for (size_t bucket = home_of(pc); buckets_[bucket]; bucket = next(bucket)) buckets_[bucket] = 0;
        lists_[list_of(pc)].clear();
        lists_[list_of(pc + kPageSize)].clear();
    }
}

void DirectTargets::clear() {
    for (unsigned ways = 0; ways < kWays; ++ways) drop_ways(ways);
    clear_index();
    addresses_.clear();
    free_.clear();
}

}  // namespace lockstep::translate
