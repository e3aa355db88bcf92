// SPDX-License-Identifier: Apache-2.0
#include "translate/jump_cache.h"

#include <algorithm>

namespace lockstep::translate {

JumpCache::JumpCache(const uint8_t* miss) : miss_(miss) { std::ranges::fill(table_.all(), miss_); }

void JumpCache::insert(uint64_t pc, const uint8_t* checked_entry) {
    uint16_t index = index_of(pc);
    table_[index] = checked_entry;
    used_.set(index / kChunk);
    filled_.set(pc / kPageSize % filled_.size());
}

// From now on the trampolines enter what they find for any address of the page.
void JumpCache::note_page(uint64_t pc, uint64_t key, uint64_t start) {
    uint64_t number = pc / kPageSize;
    Page& page = pages_[number % kPages];
    if (page.number == number && page.key == key) return;
    if (!page.listed) noted_.push_back(static_cast<uint16_t>(number % kPages));
    page = {number, key, start, true};
    filled_.set(number % filled_.size());
    uint16_t first = index_of(number * kPageSize);
    for (size_t at = 0; at < kPageSize + kChunk; at += kChunk)
        used_.set(static_cast<uint16_t>(first + at) / kChunk);
}

void JumpCache::forget(uint64_t pc, const uint8_t* checked_entry) {
    uint16_t index = index_of(pc);
    if (table_[index] == checked_entry) table_[index] = miss_;
}

// The indices of a page's addresses follow one another.
void JumpCache::drop_from(uint64_t pc, size_t count) {
    uint16_t first = index_of(pc);
    for (size_t i = 0; i < count; ++i) table_[static_cast<uint16_t>(first + i)] = miss_;
}

void JumpCache::drop_page(uint64_t page) {
    constexpr size_t kTail = 14;  // an instruction has 15 bytes at most
    Page& noted = pages_[page / kPageSize % kPages];
    if (noted.number == page / kPageSize) noted = {.listed = noted.listed};
    if (may_have(page)) drop_from(page, kPageSize);
    if (may_have(page - kPageSize)) drop_from(page - kTail, kTail);
}

void JumpCache::clear_chunk(size_t chunk) { std::fill_n(table_.data() + chunk * kChunk, kChunk, miss_); }

void JumpCache::clear() {
    for (size_t chunk = 0; chunk < used_.size(); ++chunk)
        if (used_.test(chunk)) clear_chunk(chunk);
    used_.reset();
    filled_.reset();
    for (uint16_t at : noted_) pages_[at] = {};
    noted_.clear();
}

}  // namespace lockstep::translate
