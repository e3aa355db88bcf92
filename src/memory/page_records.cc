// SPDX-License-Identifier: Apache-2.0
#include "memory/page_records.h"

#include <cstring>

#include "memory/guest_memory.h"

namespace lockstep::memory {

// Most pages that hold anything show it in their first bytes.
bool is_zero_page(const uint8_t* page) {
    uint64_t words[8];
    for (const uint8_t* at = page; at < page + kPageSize; at += sizeof words) {
        std::memcpy(words, at, sizeof words);
        if (words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7])
            return false;
    }
    return true;
}

void write_page_record(ByteWriter& out, uint64_t page, const uint8_t* contents) {
    if (is_zero_page(contents)) return out.varint(2 * page + 1);
    out.varint(2 * page + 2);
    out.raw({contents, kPageSize});
}

Result<PageRecord> read_page_record(ByteReader& in, const GuestMemory& memory) {
    uint64_t word = in.varint();
    if (!in.ok()) return error("the saved memory is cut short");
    if (word == 0) return PageRecord{.end = true};
    PageRecord record{.page = (word - 1) / 2};
    if (word % 2 == 0) record.contents = in.raw(kPageSize);
    if (!in.ok()) return error("the saved memory is cut short at page {}", record.page);
    if (record.page > memory.physical_end() / kPageSize ||
        !memory.is_ram(GuestPhys(record.page * kPageSize), kPageSize) ||
        memory.is_rom(GuestPhys(record.page * kPageSize)))
        return error("the saved memory is damaged: there is no page {}", record.page);
    return record;
}

}  // namespace lockstep::memory
