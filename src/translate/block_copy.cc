#include "translate/block_copy.h"

#include <cstring>

#include "translate/assembler.h"
#include "translate/jump_cache.h"

namespace lockstep::translate {

namespace {

template <typename T>
void add_at(uint8_t* place, T amount) {
    T value;
    std::memcpy(&value, place, sizeof value);
    value = static_cast<T>(value + amount);
    std::memcpy(place, &value, sizeof value);
}

struct Distances {
    uint64_t guest;   ///< between the guest addresses
    uint32_t host;    ///< between the host addresses
    uint32_t record;  ///< between the exit records' indices
};

void relocate(uint8_t* place, RelocationKind kind, const Distances& distances) {
    switch (kind) {
        case RelocationKind::kGuestAddress:
            add_at<uint64_t>(place, distances.guest);
            break;
        case RelocationKind::kNegatedGuestAddress:
            add_at<uint64_t>(place, -distances.guest);
            break;
        case RelocationKind::kNear:
            add_at<uint32_t>(place, -distances.host);
            break;
        case RelocationKind::kRecord:
            add_at<uint32_t>(place, distances.record);
            break;
        case RelocationKind::kJumpTarget: {
            add_at<uint64_t>(place, distances.guest);
            uint64_t target;
            std::memcpy(&target, place, sizeof target);
            int32_t displacement = JumpCache::index_of(target) * 8;
            std::memcpy(place + kJumpIndexDistance, &displacement, sizeof displacement);
            break;
        }
    }
}

}  // namespace

Block& copy_block(CodeCache& cache, const Block& from, uint64_t pc) {
    uint8_t* start = cache.free_start();
    ptrdiff_t host = start - from.checked_entry;
    std::memcpy(start, from.checked_entry, static_cast<size_t>(from.host_end - from.checked_entry));

    Block& block = cache.new_block(false);
    block = from;
    block.pc = pc;
    block.checked_entry += host;
    block.entry += host;
    block.host_end += host;
    block.next_in_bucket = block.next_variant = nullptr;
    block.next_in_page = {};
    block.first_incoming = kNoRecord;
    block.first_record = cache.next_record();
    Distances distances{pc - from.pc, static_cast<uint32_t>(host), block.first_record - from.first_record};
    for (uint32_t i = 0; i < from.record_count; ++i) {
        ExitRecord record = cache.record(from.first_record + i);
        record.pc += distances.guest;
        record.block = &block;
        record.next_incoming = kNoRecord;
        if (record.host) record.host += host;
        if (record.stub) record.stub += host;
        if (record.kind == ExitKind::kLink)
            Assembler::bind(record.host, record.stub);  // the original may be chained
        cache.add_record(record, false);
    }
    for (const Relocation& relocation : cache.relocations(from))
        relocate(start + relocation.offset, relocation.kind, distances);
    cache.use_until(block.host_end);
    return block;
}

}  // namespace lockstep::translate
