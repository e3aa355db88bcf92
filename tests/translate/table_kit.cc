// SPDX-License-Identifier: Apache-2.0
#include "table_kit.h"

#include <malloc.h>

#include "x86/paging.h"

namespace lockstep::translate {

uint64_t heap_bytes() {
    struct mallinfo2 use = mallinfo2();
    return use.uordblks + use.hblkhd;
}

Block& BlockKit::block(const BlockKey& key, Shelf shelf) {
    Block& block = cache.new_block(shelf);
    block.pc = key.pc;
    block.physical = GuestPhys(key.physical);
    block.mode = key.mode;
    block.relocatable = true;
    block.copied = shelf == Shelf::kCopied;
    for (Part part : {Part::kHot, Part::kCold}) {
        uint8_t* start = cache.room(shelf, part).start;
        block.part(part) = {start, start + 16};
    }
    block.entry = block.part(Part::kHot).start;
    block.slot_entry = block.entry + 1;
    block.checked_entry = block.entry + 2;
    if (shelf != Shelf::kTransient) cache.use(block);
    return block;
}

uint32_t BlockKit::link(Shelf shelf, bool flags_in_slot) {
    uint8_t* code = cache.room(shelf, Part::kCold).start;
    cache.use_cold_until(shelf, code + 8);
    Assembler::bind(code, code + 4);
    return cache.add_record(
        {.kind = ExitKind::kLink, .flags_in_slot = flags_in_slot, .host = code, .stub = code + 4}, shelf);
}

}  // namespace lockstep::translate
