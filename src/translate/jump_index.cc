// SPDX-License-Identifier: Apache-2.0
#include "translate/jump_index.h"

#include <algorithm>

namespace lockstep::translate {

const uint8_t* JumpIndex::find(uint64_t pc, uint64_t key) const {
    const Entry& entry = entries_[index_of(pc, key)];
    return entry.pc == pc && entry.key == key ? entry.checked_entry : nullptr;
}

void JumpIndex::insert(const Block& block) {
    uint64_t key = key_of(block);
    size_t index = index_of(block.pc, key);
    used_.set(index / kChunk);
    entries_[index] = {block.pc, key, block.checked_entry, block.slot_entry};
}

void JumpIndex::forget(const Block& block) {
    Entry& entry = entries_[index_of(block.pc, key_of(block))];
    if (entry.slot_entry == block.slot_entry) entry = {};
}

void JumpIndex::clear() {
    for (size_t chunk = 0; chunk < used_.size(); ++chunk)
        if (used_.test(chunk)) std::fill_n(entries_.data() + chunk * kChunk, kChunk, Entry{});
    used_.reset();
}

}  // namespace lockstep::translate
