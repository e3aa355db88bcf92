// SPDX-License-Identifier: Apache-2.0
#include "translate/block_table.h"

#include <bit>
#include <optional>
#include <utility>

#include "translate/assembler.h"
#include "x86/paging.h"

namespace lockstep::translate {

namespace {

/// Host memory of the code cache for each bucket: about two blocks.
constexpr uint64_t kBytesOfABucket = 512;

bool is_variant(const Block& block, const BlockKey& key) {
    return block.physical.value() == key.physical && block.mode == key.mode;
}

/// The page that holds the end of the block's one instruction, where that isn't the block's own page.
std::optional<uint64_t> other_page(const Block& block) {
    uint64_t second = block.second_page / kPageSize;
    if (!block.second_page || second == block.physical.value() / kPageSize) return std::nullopt;
    return second;
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
    // A copy's branches must lead to canonical addresses, as the original's do.
    constexpr uint64_t kReach = (uint64_t{1} << 31) + kPageSize;
    if (!x86::is_canonical(key.pc + kReach)) return nullptr;
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
    uint64_t page = block.physical.value() / kPageSize;
    if (!page_blocks_[page]) note_code_page(page);
    if (std::optional<uint64_t> other = other_page(block); other && !page_blocks_[*other])
        note_code_page(*other);
    if (block.relocatable && !block.copied)
        block.next_variant = std::exchange(variants_[variant_bucket_of(block.physical.value())], &block);
    enter(block);
}

void BlockTable::enter(Block& block) {
    block.next_in_bucket = std::exchange(buckets_[bucket_of(block.physical.value(), block.pc)], &block);
    uint64_t page = block.physical.value() / kPageSize;
    next_in_page(block, page) = std::exchange(page_blocks_[page], &block);
    if (std::optional<uint64_t> other = other_page(block))
        next_in_page(block, *other) = std::exchange(page_blocks_[*other], &block);
}

void BlockTable::note_code_page(uint64_t page) {
    code_pages_.push_back(page);
    memory_.set_code(GuestPhys(page * kPageSize), true);
    new_code_page_(GuestPhys(page * kPageSize));
}

void BlockTable::take_from_bucket(Block& block) {
    Block** link = &buckets_[bucket_of(block.physical.value(), block.pc)];
    while (*link != &block) link = &(*link)->next_in_bucket;
    *link = block.next_in_bucket;
}

void BlockTable::forget_page(GuestPhys address) {
    uint64_t page = address.value() / kPageSize;
    memory_.set_code(GuestPhys(page * kPageSize), false);
    for (Block* block = std::exchange(page_blocks_[page], nullptr); block;
         block = next_in_page(*block, page)) {
        if (!block->alive) continue;
        take_from_bucket(*block);
        forget(*block);
    }
}

void BlockTable::forget(Block& block) {
    block.alive = false;
    unchain(block);
    forget_(block);
}

// A page that has copies has what they were made of, too, so no page is without blocks afterwards that had
// some before.
void BlockTable::forget_copies() {
    for (uint64_t page : code_pages_) page_blocks_[page] = nullptr;
    for (Block& copy : cache_.blocks(Shelf::kCopied)) {
        unchain(copy);
        buckets_[bucket_of(copy.physical.value(), copy.pc)] = nullptr;
    }
    for (const Block& block : cache_.blocks(Shelf::kTranslated))
        buckets_[bucket_of(block.physical.value(), block.pc)] = nullptr;
    for (Block& block : cache_.blocks(Shelf::kTranslated)) {
        if (!block.alive) continue;
        forget_chains_of_copies(block);
        enter(block);
    }
}

void BlockTable::forget_chains_of_copies(Block& block) {
    for (uint32_t* link = &block.first_incoming; *link != kNoRecord;) {
        uint32_t& next = cache_.record(*link).next_incoming;
        if (CodeCache::is_of_copy(*link)) {
            *link = next;
        } else {
            link = &next;
        }
    }
}

void BlockTable::clear() {
    for (uint64_t page : code_pages_) {
        page_blocks_[page] = nullptr;
        memory_.set_code(GuestPhys(page * kPageSize), false);
    }
    code_pages_.clear();
    for (Shelf shelf : kLastingShelves)
        for (const Block& block : cache_.blocks(shelf)) {  // few of them cost little
            buckets_[bucket_of(block.physical.value(), block.pc)] = nullptr;
            variants_[variant_bucket_of(block.physical.value())] = nullptr;
        }
}

void BlockTable::chain(uint32_t record, Block& block) {
    ExitRecord& exit = cache_.record(record);
    Assembler::bind(exit.host, exit.flags_in_slot ? block.slot_entry : block.entry);
    exit.next_incoming = std::exchange(block.first_incoming, record);
}

bool BlockTable::is_chained(const ExitRecord& record) {
    return Assembler::target_of(record.host) != record.stub;
}

void BlockTable::unchain(Block& block) {
    for (uint32_t index = std::exchange(block.first_incoming, kNoRecord); index != kNoRecord;) {
        ExitRecord& exit = cache_.record(index);
        Assembler::bind(exit.host, exit.stub);
        index = std::exchange(exit.next_incoming, kNoRecord);
    }
}

}  // namespace lockstep::translate
