#include "translate/code_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "base/check.h"

namespace lockstep::translate {

CodeCache::CodeCache(uint64_t bytes) : size_(std::max<uint64_t>(bytes, 1 << 20)) {
    void* mapped = mmap(nullptr, size_, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                        -1, 0);
    CHECK(mapped != MAP_FAILED, "the host refuses {} MiB of writable and executable memory for the code cache",
          size_ >> 20);
    base_ = static_cast<uint8_t*>(mapped);
    free_ = base_ + kBlocksOffset;
    static_assert(sizeof(EngineState) <= kTrampolineOffset);
    new (base_) EngineState;
}

CodeCache::~CodeCache() { munmap(base_, size_); }

Block& CodeCache::new_block(bool transient) {
    if (!transient) return blocks_.emplace_back();
    transient_block_ = {};
    return transient_block_;
}

uint32_t CodeCache::add_record(const ExitRecord& record, bool transient) {
    auto& records = transient ? transient_records_ : records_;
    records.push_back(record);
    return static_cast<uint32_t>(records.size() - 1) | (transient ? kTransientBit : 0);
}

uint32_t CodeCache::add_mark(const InstructionMark& mark, bool transient) {
    auto& marks = transient ? transient_marks_ : marks_;
    marks.push_back(mark);
    return static_cast<uint32_t>(marks.size() - 1);
}

const InstructionMark* CodeCache::marks(const Block& block) const {
    return (&block == &transient_block_ ? transient_marks_ : marks_).data() + block.first_mark;
}

void CodeCache::start_transient() {
    transient_records_.clear();
    transient_marks_.clear();
}

Block* CodeCache::block_at(const uint8_t* host) {
    if (host >= scratch() && host < scratch_end()) return &transient_block_;
    auto after = std::upper_bound(blocks_.begin(), blocks_.end(), host,
                                  [](const uint8_t* at, const Block& block) { return at < block.host_end; });
    return after != blocks_.end() && host >= after->checked_entry ? &*after : nullptr;
}

void CodeCache::flush() {
    free_ = base_ + kBlocksOffset;
    blocks_.clear();
    records_.clear();
    marks_.clear();
}

}  // namespace lockstep::translate
