// SPDX-License-Identifier: Apache-2.0
#include "record/wire_entry.h"

#include "record/entry_codec.h"

namespace lockstep::record {

void encode_wire_entry(ByteWriter& out, const Entry& entry) {
    out.varint(encoded_size(entry, Icount(0)));
    encode_entry(out, entry, Icount(0));
}

Result<std::vector<Entry>> decode_wire_entries(ByteSpan bytes, uint64_t count) {
    std::vector<Entry> entries;
    ByteReader in(bytes);
    while (in.ok() && in.remaining() > 0) {
        auto one = TRY(decode_entries(in.blob(), 1, Icount(0)));
        entries.push_back(std::move(one.front()));
    }
    if (!in.ok() || entries.size() != count) return error("log entries from the primary are damaged");
    return entries;
}

}  // namespace lockstep::record
