// SPDX-License-Identifier: Apache-2.0
#include "vmm/wire_entry.h"

#include "record/entry_codec.h"

namespace lockstep::vmm {

void encode_wire_entry(ByteWriter& out, const record::Entry& entry) {
    out.varint(record::encoded_size(entry, Icount(0)));
    record::encode_entry(out, entry, Icount(0));
}

Result<std::vector<record::Entry>> decode_wire_entries(ByteSpan bytes, uint64_t count) {
    std::vector<record::Entry> entries;
    ByteReader in(bytes);
    while (in.ok() && in.remaining() > 0) {
        auto one = TRY(record::decode_entries(in.blob(), 1, Icount(0)));
        entries.push_back(std::move(one.front()));
    }
    if (!in.ok() || entries.size() != count) return error("log entries from the primary are damaged");
    return entries;
}

}  // namespace lockstep::vmm
