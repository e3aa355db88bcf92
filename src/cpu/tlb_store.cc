// SPDX-License-Identifier: Apache-2.0
#include "cpu/tlb_store.h"

#include <bit>

namespace lockstep::cpu {

size_t TlbLeaf::count() const {
    size_t count = 0;
    for (uint64_t word : used) count += static_cast<size_t>(std::popcount(word));
    return count;
}

TlbLeaf* TlbLeafPool::take() {
    if (free_.empty()) {
        all_.push_back(std::make_unique<TlbLeaf>());
        return all_.back().get();
    }
    TlbLeaf* leaf = free_.back();
    free_.pop_back();
    leaf->for_each([](unsigned, TlbEntry& entry) { entry = {}; });
    leaf->used.fill(0);
    leaf->gigabyte = false;
    return leaf;
}

TlbLeaf* TlbStore::search(uint64_t region) const {
    if (table_.empty()) return nullptr;
    for (size_t slot = home(region); table_[slot]; slot = (slot + 1) & (table_.size() - 1))
        if (table_[slot]->region == region) return table_[slot];
    return nullptr;
}

void TlbStore::place(TlbLeaf* leaf) {
    size_t slot = home(leaf->region);
    while (table_[slot]) slot = (slot + 1) & (table_.size() - 1);
    table_[slot] = leaf;
    leaf->slot = static_cast<uint32_t>(slot);
}

void TlbStore::grow() {
    table_.assign(table_.empty() ? 64 : table_.size() * 2, nullptr);
    for (TlbLeaf* leaf : leaves_) place(leaf);
}

TlbLeaf& TlbStore::leaf_for_insert(uint64_t region) {
    if (TlbLeaf* found = leaf(region)) return *found;
    if ((leaves_.size() + 1) * 2 > table_.size()) grow();
    TlbLeaf* made = pool_->take();
    made->region = region;
    leaves_.push_back(made);
    place(made);
    recent_[region % kRecent] = made;
    return *made;
}

bool TlbStore::holds_at_most(size_t pages) const {
    size_t count = 0;
    for (const TlbLeaf* leaf : leaves_)
        if ((count += leaf->count()) > pages) return false;
    return true;
}

void TlbStore::clear() {
    for (TlbLeaf* leaf : leaves_) {
        table_[leaf->slot] = nullptr;
        pool_->give_back(leaf);
    }
    leaves_.clear();
    recent_.fill(nullptr);
}

}  // namespace lockstep::cpu
