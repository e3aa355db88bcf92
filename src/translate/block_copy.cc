// SPDX-License-Identifier: Apache-2.0
#include "translate/block_copy.h"

#include <array>
#include <cstring>

#include "translate/assembler.h"

namespace lockstep::translate {

namespace {

template <typename T>
void add_at(uint8_t* place, T amount) {
    T value;
    std::memcpy(&value, place, sizeof value);
    value = static_cast<T>(value + amount);
    std::memcpy(place, &value, sizeof value);
}

/// From the original to the copy.
struct Distances {
    uint64_t guest;                      ///< between the guest addresses
    std::array<ptrdiff_t, kParts> host;  ///< between the host addresses, by Part
    uint32_t record;                     ///< between the exit records' indices

    ptrdiff_t of(Part part) const { return host[static_cast<size_t>(part)]; }
};

Part other(Part part) { return part == Part::kHot ? Part::kCold : Part::kHot; }

void relocate(uint8_t* place, const Relocation& relocation, const Distances& distances,
              DirectTargets& targets) {
    Part part = relocation.part;
    switch (relocation.kind) {
        case RelocationKind::kGuestAddress:
            add_at<uint64_t>(place, distances.guest);
            break;
        case RelocationKind::kNegatedAddress:
            add_at<uint64_t>(place, -distances.guest);
            break;
        case RelocationKind::kNear:
            add_at<uint32_t>(place, static_cast<uint32_t>(-distances.of(part)));
            break;
        case RelocationKind::kAcross:
            add_at<uint32_t>(place, static_cast<uint32_t>(distances.of(other(part)) - distances.of(part)));
            break;
        case RelocationKind::kRecord:
            add_at<uint32_t>(place, distances.record);
            break;
        case RelocationKind::kDirectTarget: {
            uint32_t slot;
            std::memcpy(&slot, place, sizeof slot);
            slot = targets.slot_of(targets.address_of(slot) + distances.guest, Shelf::kCopied);
            std::memcpy(place, &slot, sizeof slot);
            break;
        }
    }
}

}  // namespace

Block& copy_block(CodeCache& cache, DirectTargets& targets, const Block& from, uint64_t pc) {
    uint32_t first_record = cache.next_record(Shelf::kCopied);
    Distances distances{.guest = pc - from.pc, .host = {}, .record = first_record - from.first_record};
    Block& block = cache.new_block(Shelf::kCopied);
    block = from;
    block.copied = true;
    for (size_t part = 0; part < kParts; ++part) {
        const HostCode& code = from.code[part];
        uint8_t* start = cache.room(Shelf::kCopied, static_cast<Part>(part)).start;
        std::memcpy(start, code.start, code.size());
        block.code[part] = {start, start + code.size()};
        distances.host[part] = start - code.start;
    }
    auto moved = [&](uint8_t* host) {
        return host + distances.of(from.part(Part::kHot).contains(host) ? Part::kHot : Part::kCold);
    };
    block.pc = pc;
    block.entry = moved(from.entry);
    block.slot_entry = moved(from.slot_entry);
    bool checked = from.part(Part::kHot).contains(from.checked_entry);
    block.checked_entry = checked ? moved(from.checked_entry) : nullptr;
    block.next_in_bucket = block.next_variant = nullptr;
    block.next_in_page = {};
    block.first_incoming = kNoRecord;
    block.first_record = first_record;
    for (uint32_t i = 0; i < from.record_count; ++i) {
        ExitRecord record = cache.record(from.first_record + i);
        record.pc += distances.guest;
        record.block = &block;
        record.next_incoming = kNoRecord;
        if (record.host) record.host = moved(record.host);
        if (record.stub) record.stub = moved(record.stub);
        if (record.kind == ExitKind::kLink)
            Assembler::bind(record.host, record.stub);  // the original may be chained
        cache.add_record(record, Shelf::kCopied);
    }
    for (const Relocation& relocation : cache.relocations(from))
        relocate(block.part(relocation.part).start + relocation.offset, relocation, distances, targets);
    cache.use(block);
    return block;
}

}  // namespace lockstep::translate
