// SPDX-License-Identifier: Apache-2.0
#include "translate/code_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "base/check.h"

namespace lockstep::translate {

namespace {

constexpr uint64_t kHugePage = 2 << 20;
/// The share of hot parts in all code, in per cent: as measured in a boot.
constexpr uint64_t kHotShare = 60;
/// The share of copies in all code, in per cent: room for a compiler's run.
constexpr uint64_t kCopiedShare = 38;
/// The part of the room for code that take_memory_ahead() keeps ready.
constexpr uint64_t kShareAhead = 16;

uint64_t share(uint64_t bytes, uint64_t per_cent) { return bytes * per_cent / 100; }
size_t index_of(Part part) { return static_cast<size_t>(part); }

}  // namespace

CodeCache::CodeCache(uint64_t bytes)
    : size_(std::max<uint64_t>(bytes, 1 << 20)),
      translated_(share(size_, 100 - kCopiedShare)),
      copied_(share(size_, kCopiedShare)),
      marks_(size_ / kBytesOfAMark),
      relocations_(size_ / kBytesOfARelocation) {
    mapping_ = mmap(memory::apart_from_programs(size_ + kHugePage), size_ + kHugePage,
                    PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(mapping_ != MAP_FAILED,
          "the host refuses {} MiB of writable and executable memory for the code cache", size_ >> 20);
    base_ =
        reinterpret_cast<uint8_t*>((reinterpret_cast<uint64_t>(mapping_) + kHugePage - 1) & ~(kHugePage - 1));
    madvise(base_, size_ & ~(kHugePage - 1), MADV_HUGEPAGE);  // a wish only
    uint8_t* start = base_ + kBlocksOffset;
    uint8_t* end = base_ + size_;
    uint8_t* border = end - share(size_ - kBlocksOffset, kCopiedShare);
    lay_out(translated_, start, border);
    lay_out(copied_, border, end);
    static_assert(sizeof(EngineState) <= kTrampolineOffset);
    new (base_) EngineState;
}

void CodeCache::lay_out(Stock& stock, uint8_t* start, uint8_t* end) {
    uint8_t* border = start + share(static_cast<uint64_t>(end - start), kHotShare);
    stock.whole = {HostCode{start, border}, HostCode{border, end}};
    stock.free_from = {start, border};
}

bool CodeCache::take_memory_ahead() {
    for (Shelf shelf : kLastingShelves) {
        Stock& on = stock(shelf);
        if (on.blocks.take_ahead() || on.records.take_ahead()) return true;
        for (size_t part = 0; part < kParts; ++part) {
            const HostCode& whole = on.whole[part];
            auto used = static_cast<uint64_t>(on.free_from[part] - whole.start);
            uint64_t wanted = std::min(whole.size(), used + whole.size() / kShareAhead);
            if (on.ahead[part].take(whole.start, wanted)) return true;
        }
    }
    return marks_.take_ahead() || relocations_.take_ahead();
}

void CodeCache::give_memory_back() {
    for (Shelf shelf : kLastingShelves) {
        Stock& on = stock(shelf);
        on.blocks.give_back();
        on.records.give_back();
        for (size_t part = 0; part < kParts; ++part) {
            uint8_t* from = on.free_from[part];
            on.ahead[part].give_back(from, static_cast<uint64_t>(on.whole[part].end - from));
        }
    }
    marks_.give_back();
    relocations_.give_back();
}

CodeCache::~CodeCache() { munmap(mapping_, size_ + kHugePage); }

HostCode CodeCache::room(Shelf shelf, Part part) const {
    if (shelf != Shelf::kTransient)
        return {stock(shelf).free_from[index_of(part)], stock(shelf).whole[index_of(part)].end};
    uint8_t* scratch = base_ + kScratchOffset + index_of(part) * kLargestPart;
    return {scratch, scratch + kLargestPart};
}

HostCode CodeCache::used(Shelf shelf, Part part) const {
    return {stock(shelf).whole[index_of(part)].start, stock(shelf).free_from[index_of(part)]};
}

CodeUse CodeCache::use_of(Part part) const {
    CodeUse sum;
    for (Shelf shelf : kLastingShelves) {
        sum.bytes += used(shelf, part).size();
        sum.room += stock(shelf).whole[index_of(part)].size();
    }
    return sum;
}

void CodeCache::use(const Block& block) {
    Stock& on = stock(block.shelf());
    for (size_t part = 0; part < kParts; ++part) on.free_from[part] = block.code[part].end;
}

void CodeCache::use_cold_until(Shelf shelf, uint8_t* end) {
    stock(shelf).free_from[index_of(Part::kCold)] = end;
}

bool CodeCache::has_room(Shelf shelf) const {
    const Stock& on = stock(shelf);
    bool fits = room(shelf, Part::kHot).size() >= kLargestPart &&
                room(shelf, Part::kCold).size() >= kLargestPart && on.blocks.has_room(1) &&
                on.records.has_room(kMostOfABlock);
    if (shelf == Shelf::kCopied) return fits;
    return fits && marks_.has_room(kMostOfABlock) && relocations_.has_room(kMostOfABlock);
}

Block& CodeCache::new_block(Shelf shelf) {
    if (shelf != Shelf::kTransient) return stock(shelf).blocks.add({});
    transient_block_ = {};
    return transient_block_;
}

uint32_t CodeCache::add_record(const ExitRecord& record, Shelf shelf) {
    if (shelf == Shelf::kTransient) {
        transient_records_.push_back(record);
        return static_cast<uint32_t>(transient_records_.size() - 1) | kTransientBit;
    }
    uint32_t index = next_record(shelf);
    stock(shelf).records.add(record);
    return index;
}

uint32_t CodeCache::next_record(Shelf shelf) const {
    auto count = static_cast<uint32_t>(stock(shelf).records.size());
    return shelf == Shelf::kCopied ? count | kCopiedBit : count;
}

uint32_t CodeCache::add_mark(const InstructionMark& mark, bool transient) {
    if (transient) {
        transient_marks_.push_back(mark);
        return static_cast<uint32_t>(transient_marks_.size() - 1);
    }
    marks_.add(mark);
    return static_cast<uint32_t>(marks_.size() - 1);
}

const InstructionMark* CodeCache::marks(const Block& block) {
    return &block == &transient_block_ ? &transient_marks_[block.first_mark] : &marks_[block.first_mark];
}

void CodeCache::start_transient() {
    transient_records_.clear();
    transient_marks_.clear();
}

Block* CodeCache::block_at(const uint8_t* host) {
    if (room(Shelf::kTransient, Part::kHot).contains(host)) return &transient_block_;
    bool copied = copied_.whole[index_of(Part::kHot)].contains(host);
    memory::LargeList<Block>& blocks = (copied ? copied_ : translated_).blocks;
    auto ends_behind = [](const uint8_t* at, const Block& block) { return at < block.part(Part::kHot).end; };
    auto after = std::upper_bound(blocks.begin(), blocks.end(), host, ends_behind);
    return after != blocks.end() && after->part(Part::kHot).contains(host) ? &*after : nullptr;
}

void CodeCache::clear(Shelf shelf) {
    Stock& on = stock(shelf);
    for (size_t part = 0; part < kParts; ++part) on.free_from[part] = on.whole[part].start;
    on.blocks.clear();
    on.records.clear();
    if (shelf == Shelf::kCopied) return;
    marks_.clear();
    relocations_.clear();
}

}  // namespace lockstep::translate
