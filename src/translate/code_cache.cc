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

}  // namespace

CodeCache::CodeCache(uint64_t bytes)
    : size_(std::max<uint64_t>(bytes, 1 << 20)),
      blocks_(size_ / kBytesOfABlock),
      records_(size_ / kBytesOfARecord),
      marks_(size_ / kBytesOfAMark),
      relocations_(size_ / kBytesOfARelocation) {
    mapping_ = mmap(memory::apart_from_programs(size_ + kHugePage), size_ + kHugePage,
                    PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(mapping_ != MAP_FAILED,
          "the host refuses {} MiB of writable and executable memory for the code cache", size_ >> 20);
    base_ =
        reinterpret_cast<uint8_t*>((reinterpret_cast<uint64_t>(mapping_) + kHugePage - 1) & ~(kHugePage - 1));
    madvise(base_, size_ & ~(kHugePage - 1), MADV_HUGEPAGE);  // a wish only
    free_ = {base_ + kBlocksOffset, border()};
    static_assert(sizeof(EngineState) <= kTrampolineOffset);
    new (base_) EngineState;
}

bool CodeCache::take_memory_ahead() {
    return blocks_.take_ahead() || records_.take_ahead() || marks_.take_ahead() ||
           relocations_.take_ahead() || ahead_.take(base_, size_ & ~(kHugePage - 1));
}

CodeCache::~CodeCache() { munmap(mapping_, size_ + kHugePage); }

uint8_t* CodeCache::border() const {
    return base_ + kBlocksOffset + (size_ - kBlocksOffset) * kHotShare / 100;
}

HostCode CodeCache::room(Part part, bool transient) const {
    bool hot = part == Part::kHot;
    if (!transient) return {free_[static_cast<size_t>(part)], hot ? border() : base_ + size_};
    uint8_t* scratch = base_ + kScratchOffset + (hot ? 0 : kLargestPart);
    return {scratch, scratch + kLargestPart};
}

HostCode CodeCache::used(Part part) const {
    return {part == Part::kHot ? base_ + kBlocksOffset : border(), free_[static_cast<size_t>(part)]};
}

Block& CodeCache::new_block(bool transient) {
    if (!transient) return blocks_.add({});
    transient_block_ = {};
    return transient_block_;
}

uint32_t CodeCache::add_record(const ExitRecord& record, bool transient) {
    if (transient) {
        transient_records_.push_back(record);
        return static_cast<uint32_t>(transient_records_.size() - 1) | kTransientBit;
    }
    records_.add(record);
    return next_record() - 1;
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
    if (room(Part::kHot, true).contains(host)) return &transient_block_;
    auto ends_behind = [](const uint8_t* at, const Block& block) { return at < block.part(Part::kHot).end; };
    auto after = std::upper_bound(blocks_.begin(), blocks_.end(), host, ends_behind);
    return after != blocks_.end() && after->part(Part::kHot).contains(host) ? &*after : nullptr;
}

void CodeCache::flush() {
    free_ = {base_ + kBlocksOffset, border()};
    blocks_.clear();
    records_.clear();
    marks_.clear();
    relocations_.clear();
}

}  // namespace lockstep::translate
