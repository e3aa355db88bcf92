// SPDX-License-Identifier: Apache-2.0
#include "record/entry_codec.h"

#include <bit>

#include "base/check.h"
#include "record/entry_table.h"

namespace lockstep::record {

namespace {

/// The fewest bytes of an entry: kind, icount, device, size.
constexpr size_t kLeastEntry = 4;

size_t varint_size(uint64_t value) { return (std::bit_width(value | 1) + 6u) / 7; }

}  // namespace

void encode_entry(ByteWriter& out, const Entry& entry, Icount previous) {
    CHECK(entry.icount >= previous, "icount {} after {}", entry.icount.value(), previous.value());
    CHECK(entry.payload.size() <= kMaxPayload, "a payload of {} bytes", entry.payload.size());
    out.fixed(entry.kind);
    out.varint(entry.icount - previous);
    out.varint(entry.device);
    out.blob(entry.payload);
}

size_t encoded_size(const Entry& entry, Icount previous) {
    return 1 + varint_size(entry.icount - previous) + varint_size(entry.device) +
           varint_size(entry.payload.size()) + entry.payload.size();
}

Result<std::vector<Entry>> decode_entries(ByteSpan body, uint32_t count, Icount least) {
    if (count > body.size() / kLeastEntry)
        return error("{} entries do not fit a body of {} bytes", count, body.size());
    ByteReader in(body);
    std::vector<Entry> entries(count);
    Icount previous;
    for (Entry& entry : entries) {
        entry.kind = in.fixed<EntryKind>();
        uint64_t step = in.varint();
        uint64_t device = in.varint();
        ByteSpan payload = in.blob();
        if (!in.ok()) return error("an entry goes past the end of its frame");
        if (!is_entry_kind(static_cast<uint8_t>(entry.kind))) {
            return error("entry kind {} is unknown to this format version", static_cast<int>(entry.kind));
        }
        entry.icount = previous + step;
        if (entry.icount < previous || entry.icount < least) return error("an entry's icount goes backwards");
        if (device > UINT16_MAX) return error("device number {} is out of range", device);
        if (payload.size() > kMaxPayload)
            return error("a payload of {} bytes is beyond the limit", payload.size());
        entry.device = static_cast<uint16_t>(device);
        entry.payload.assign(payload.begin(), payload.end());
        previous = entry.icount;
    }
    if (in.remaining()) return error("{} bytes follow the last entry of a frame", in.remaining());
    return entries;
}

}  // namespace lockstep::record
