// SPDX-License-Identifier: Apache-2.0
#include "memory/page_loader.h"

#include <cstring>

#include "memory/page_records.h"

namespace lockstep::memory {

PageLoader::PageLoader(GuestMemory& memory) : memory_(memory), filled_(memory.physical_end() / kPageSize) {
    memory.clear();
}

Result<void> PageLoader::take(ByteSpan records) {
    ByteReader in(records);
    while (in.remaining()) {
        PageRecord record = TRY(read_page_record(in, memory_));
        if (record.end) return error("the saved memory ends before it is complete");
        put(record.page, record.contents);
    }
    return {};
}

Result<void> PageLoader::take_to_end(ByteReader& in) {
    for (;;) {
        PageRecord record = TRY(read_page_record(in, memory_));
        if (record.end) return {};
        put(record.page, record.contents);
    }
}

void PageLoader::put(uint64_t page, ByteSpan contents) {
    uint8_t* to = memory_.host(GuestPhys(page * kPageSize));
    if (!contents.empty()) {
        std::memcpy(to, contents.data(), kPageSize);
        filled_[page] = true;
    } else if (filled_[page]) {
        std::memset(to, 0, kPageSize);
    }
}

}  // namespace lockstep::memory
