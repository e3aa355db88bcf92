// SPDX-License-Identifier: Apache-2.0
#include "record/packets.h"

namespace lockstep::record {

namespace {
/// The longest that a count or a length can be (a varint of 32 bits).
constexpr size_t kMostLengthBytes = 5;
}  // namespace

Result<std::vector<ByteSpan>> packet_views(ByteSpan payload) {
    ByteReader in(payload);
    uint64_t count = in.varint();
    std::vector<ByteSpan> packets;
    // Every packet takes a byte at least, so a damaged count can't make us allocate without bounds.
    if (count <= in.remaining()) packets.reserve(count);
    while (packets.size() < count && in.ok()) packets.push_back(in.blob());
    if (!in.ok() || in.remaining()) return error("a batch of packets is damaged");
    return packets;
}

Bytes encode_packets(std::span<const ByteSpan> packets) {
    size_t size = kMostLengthBytes;
    for (ByteSpan packet : packets) size += kMostLengthBytes + packet.size();
    Bytes payload;
    payload.reserve(size);
    ByteWriter out(payload);
    out.varint(packets.size());
    for (ByteSpan packet : packets) out.blob(packet);
    return payload;
}

}  // namespace lockstep::record
