#include "translate/block_table.h"

#include <bit>
#include <utility>

#include "translate/assembler.h"

namespace lockstep::translate {

namespace {

/// Host memory of the code cache for each bucket: about two blocks.
constexpr uint64_t kBytesOfABucket = 512;

bool is_variant(const Block& block, const BlockKey& key) {
    return block.physical.value() == key.physical && block.user == key.user &&
           block.fpu_enabled == key.fpu_enabled && block.plain == key.plain && block.window == key.window;
}

/// The link of a page's list in a block: an instruction that crosses pages is in two lists.
Block*& next_in_page(Block& block, uint64_t page) {
    return block.next_in_page[block.physical.value() / kPageSize == page ? 0 : 1];
}

}  // namespace

BlockTable::BlockTable(CodeCache& cache, memory::GuestMemory& memory, CodePage new_code_page, Forget forget)
    : cache_(cache),
      memory_(memory),
      new_code_page_(std::move(new_code_page)),
      forget_(std::move(forget)),
      bucket_bits_(static_cast<unsigned>(std::bit_width(cache.size() / kBytesOfABucket))),
      buckets_(size_t{1} << bucket_bits_),
      variants_(size_t{1} << bucket_bits_),
      page_blocks_(memory.physical_end() / kPageSize) {}

Block* BlockTable::find(const BlockKey& key) {
    Block* block = buckets_[bucket_of(key.physical, key.pc)];
    while (block && !(block->pc == key.pc && is_variant(*block, key))) block = block->next_in_bucket;
    return block;
}

const Block* BlockTable::find_variant(const BlockKey& key) {
    Block** link = &variants_[variant_bucket_of(key.physical)];
    while (*link && !((*link)->alive && is_variant(**link, key)))
        if ((*link)->alive) {
            link = &(*link)->next_variant;
        } else {
            *link = (*link)->next_variant;
        }
    return *link;
}

void BlockTable::insert(Block& block) {
    Block*& first = buckets_[bucket_of(block.physical.value(), block.pc)];
    block.next_in_bucket = std::exchange(first, &block);
    if (block.relocatable)
        block.next_variant = std::exchange(variants_[variant_bucket_of(block.physical.value())], &block);
    add_to_page(block.physical.value() / kPageSize, block);
    uint64_t second = block.second_page / kPageSize;
    if (block.second_page && second != block.physical.value() / kPageSize) add_to_page(second, block);
}

void BlockTable::remove_from_bucket(Block& block) {
    Block** link = &buckets_[bucket_of(block.physical.value(), block.pc)];
    while (*link != &block) link = &(*link)->next_in_bucket;
    *link = block.next_in_bucket;
}

void BlockTable::add_to_page(uint64_t page, Block& block) {
    if (!page_blocks_[page]) {
        code_pages_.push_back(page);
        memory_.set_code(GuestPhys(page * kPageSize), true);
        new_code_page_(GuestPhys(page * kPageSize));
    }
    next_in_page(block, page) = std::exchange(page_blocks_[page], &block);
}

void BlockTable::invalidate_page(GuestPhys address) {
    uint64_t page = address.value() / kPageSize;
    memory_.set_code(GuestPhys(page * kPageSize), false);
    for (Block* block = std::exchange(page_blocks_[page], nullptr); block;
         block = next_in_page(*block, page)) {
        if (!block->alive) continue;
        remove_from_bucket(*block);
        discard(*block);
    }
}

void BlockTable::discard(Block& block) {
    block.alive = false;
    unchain(block);
    forget_(block);
}

void BlockTable::clear() {
    for (uint64_t page : code_pages_) {
        page_blocks_[page] = nullptr;
        memory_.set_code(GuestPhys(page * kPageSize), false);
    }
    code_pages_.clear();
    for (const Block& block : cache_.blocks()) {  // few of them cost little
        buckets_[bucket_of(block.physical.value(), block.pc)] = nullptr;
        variants_[variant_bucket_of(block.physical.value())] = nullptr;
    }
}

void BlockTable::chain(uint32_t record, Block& block) {
    ExitRecord& exit = cache_.record(record);
    Assembler::bind(exit.host, exit.flags_in_slot ? block.slot_entry : block.entry);
    exit.next_incoming = std::exchange(block.first_incoming, record);
}

void BlockTable::unchain(Block& block) {
    for (uint32_t index = std::exchange(block.first_incoming, kNoRecord); index != kNoRecord;) {
        ExitRecord& exit = cache_.record(index);
        Assembler::bind(exit.host, exit.stub);
        index = std::exchange(exit.next_incoming, kNoRecord);
    }
}

}  // namespace lockstep::translate
