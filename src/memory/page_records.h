// SPDX-License-Identifier: Apache-2.0
// How pages of guest memory are written down, one after the other:
//
//     varint   0                   the end; not in pieces that follow one another by themselves
//              2 * page + 1        a page of zeroes; `page` is its guest-physical page number
//              2 * page + 2        a page, whose contents (kPageSize bytes) follow
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "base/strong.h"

namespace lockstep::memory {

class GuestMemory;

/// The longest record, in bytes.
inline constexpr size_t kLongestPageRecord = 10 + kPageSize;

bool is_zero_page(const uint8_t* page);
/// `contents`: of the page, kPageSize bytes.
void write_page_record(ByteWriter& out, uint64_t page, const uint8_t* contents);
inline void write_page_end(ByteWriter& out) { out.varint(0); }

struct PageRecord {
    bool end = false;
    uint64_t page = 0;
    ByteSpan contents{};  ///< empty: zeroes
};
/// The next record; `memory`: of whose RAM the page must be.
Result<PageRecord> read_page_record(ByteReader& in, const GuestMemory& memory);

}  // namespace lockstep::memory
