#include "translate/direct_targets.h"

#include <algorithm>
#include <bit>

namespace lockstep::translate {

DirectTargets::DirectTargets(size_t capacity, const uint8_t* miss)
    : capacity_(capacity),
      miss_(miss),
      tables_(capacity * cpu::kSpaces),
      addresses_(capacity),
      buckets_(std::bit_ceil(capacity * 2)),
      lists_(kLists),
      journal_entries_(capacity * cpu::kSpaces) {
    for (unsigned space = 0; space < cpu::kSpaces; ++space)
        journals_[space] = {journal_start(space), journal_start(space) + capacity};
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

uint32_t DirectTargets::slot_of(uint64_t pc) {
    uint32_t& known = buckets_[bucket_of(pc)];
    if (known) return known - 1;
    auto slot = static_cast<uint32_t>(addresses_.size());
    addresses_.add(pc);
    known = slot + 1;
    lists_[list_of(pc)].push_back(slot);
    for (unsigned space = 0; space < cpu::kSpaces; ++space) table_of(space)[slot] = miss_;
    return slot;
}

void DirectTargets::fill(unsigned space, const Block& block) {
    uint32_t known = buckets_[bucket_of(block.pc)];
    if (!known) return;
    uint32_t slot = known - 1;
    Journal& journal = journals_[space];
    if (journal.next == journal.end) drop_space(space);
    *journal.next++ = slot;
    table_of(space)[slot] = block.slot_entry;
    filled_[space].set(list_of(block.pc));
    if (!block.second_page) return;
    filled_[space].set(list_of(block.pc + kPageSize));
    std::vector<uint32_t>& second = lists_[list_of(block.pc + kPageSize)];
    if (std::ranges::find(second, slot) == second.end()) second.push_back(slot);
}

void DirectTargets::drop_page(unsigned space, uint64_t page) {
    for (uint32_t slot : lists_[list_of(page)]) table_of(space)[slot] = miss_;
}

void DirectTargets::drop_space(unsigned space) {
    Journal& journal = journals_[space];
    for (uint32_t* slot = journal_start(space); slot != journal.next; ++slot) table_of(space)[*slot] = miss_;
    journal.next = journal_start(space);
    filled_[space].reset();
}

void DirectTargets::drop_block(const Block& block) {
    for (unsigned space = 0; space < cpu::kSpaces; ++space) drop_page(space, block.pc);
}

void DirectTargets::clear() {
    for (unsigned space = 0; space < cpu::kSpaces; ++space) drop_space(space);
    for (uint64_t pc : addresses_) {  // few of them cost little
        for (size_t bucket = home_of(pc); buckets_[bucket]; bucket = next(bucket)) buckets_[bucket] = 0;
        lists_[list_of(pc)].clear();
        lists_[list_of(pc + kPageSize)].clear();
    }
    addresses_.clear();
}

}  // namespace lockstep::translate
