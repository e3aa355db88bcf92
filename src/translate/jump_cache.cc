#include "translate/jump_cache.h"

#include <algorithm>

namespace lockstep::translate {

JumpCache::JumpCache(const uint8_t* miss) : miss_(miss), table_(new const uint8_t*[kEntries]) {
    std::fill_n(table_.get(), kEntries, miss_);
}

void JumpCache::insert(uint64_t pc, const uint8_t* checked_entry) {
    uint16_t index = index_of(pc);
    table_[index] = checked_entry;
    auto& indices = filled_[pc & ~kPageMask];
    if (std::find(indices.begin(), indices.end(), index) == indices.end()) indices.push_back(index);
}

void JumpCache::remove(uint64_t pc, const uint8_t* checked_entry) {
    uint16_t index = index_of(pc);
    if (table_[index] == checked_entry) table_[index] = miss_;
}

void JumpCache::drop_page(uint64_t page) {
    auto found = filled_.find(page);
    if (found == filled_.end()) return;
    for (uint16_t index : found->second) table_[index] = miss_;
    filled_.erase(found);
}

void JumpCache::clear() {
    for (auto& [page, indices] : filled_)
        for (uint16_t index : indices) table_[index] = miss_;
    filled_.clear();
}

}  // namespace lockstep::translate
