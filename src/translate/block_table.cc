#include "translate/block_table.h"

#include <algorithm>

#include "translate/assembler.h"

namespace lockstep::translate {

namespace {

BlockKey key_of(const Block& block) {
    return {block.physical.value(), block.pc, block.user, block.fpu_enabled};
}

}  // namespace

Block* BlockTable::find(const BlockKey& key) const {
    Block*& recent = recent_[BlockKeyHash()(key) % kRecent];
    if (recent && recent->alive && key_of(*recent) == key) return recent;
    auto found = blocks_.find(key);
    if (found == blocks_.end()) return nullptr;
    return recent = found->second;
}

void BlockTable::insert(Block& block) {
    blocks_[key_of(block)] = &block;
    add_to_page(block.physical.value() / kPageSize, block);
    if (block.second_page) add_to_page(block.second_page / kPageSize, block);
}

void BlockTable::add_to_page(uint64_t page, Block& block) {
    pages_[page].push_back(&block);
    GuestPhys address(page * kPageSize);
    if (memory_.is_code(address)) return;
    memory_.set_code(address, true);
    shadow_map_.forbid_writes(address);
}

void BlockTable::invalidate_page(GuestPhys page, const std::function<void(Block&)>& forget) {
    auto found = pages_.find(page.value() / kPageSize);
    memory_.set_code(GuestPhys(page.value() & ~kPageMask), false);
    if (found == pages_.end()) return;
    std::vector<Block*> blocks = std::move(found->second);
    pages_.erase(found);
    for (Block* block : blocks) {
        if (!block->alive) continue;
        block->alive = false;
        unchain(*block);
        blocks_.erase(key_of(*block));
        forget(*block);
    }
}

void BlockTable::clear() {
    for (auto& [page, blocks] : pages_) memory_.set_code(GuestPhys(page * kPageSize), false);
    pages_.clear();
    blocks_.clear();
    std::fill(recent_.begin(), recent_.end(), nullptr);
}

void BlockTable::chain(uint32_t record, Block& block) {
    ExitRecord& exit = cache_.record(record);
    Assembler::bind(exit.host, block.entry);
    block.incoming.push_back(record);
}

void BlockTable::unchain(Block& block) {
    for (uint32_t index : block.incoming) {
        ExitRecord& exit = cache_.record(index);
        Assembler::bind(exit.host, exit.stub);
    }
    block.incoming.clear();
}

}  // namespace lockstep::translate
