// SPDX-License-Identifier: Apache-2.0
#include "sim/toy_output.h"

#include "base/check.h"

namespace lockstep::sim {

namespace {

constexpr uint16_t kDisk = 3, kNetwork = 5;
constexpr uint64_t kSectorBytes = 512;

Bytes encode(const ToyOutput& output) {
    Bytes bytes;
    ByteWriter out(bytes);
    out.varint(output.number);
    out.fixed(output.kind);
    out.varint(output.request);
    out.varint(output.sector);
    out.fixed(output.value);
    return bytes;
}

ToyOutput decode(ByteSpan bytes) {
    ByteReader in(bytes);
    ToyOutput output;
    output.number = in.varint();
    output.kind = in.fixed<EffectKind>();
    output.request = in.varint();
    output.sector = in.varint();
    output.value = in.fixed<uint64_t>();
    CHECK(in.ok(), "a toy's output is damaged");
    return output;
}

}  // namespace

bus::Output to_output(const ToyOutput& output) {
    if (output.kind == EffectKind::kPacket) {
        bus::Packets packets;
        packets.add(encode(output));
        return {kNetwork, std::move(packets)};
    }
    bus::DiskRequest request{.number = output.request,
                             .operation = bus::DiskOperation::kRead,
                             .offset = output.sector * kSectorBytes,
                             .size = kSectorBytes,
                             .data = {}};
    if (output.kind == EffectKind::kDiskWrite) {
        request.operation = bus::DiskOperation::kWrite;
        request.data = encode(output);
        request.data.resize(kSectorBytes);
    }
    return {kDisk, std::move(request)};
}

ToyOutput from_output(const bus::Output& output) {
    if (const auto* packets = output.as<bus::Packets>()) return decode(packets->views().front());
    const auto& request = std::get<bus::DiskRequest>(output.what);
    if (request.operation == bus::DiskOperation::kWrite) return decode(request.data);
    return {.number = 0,
            .kind = EffectKind::kDiskRead,
            .request = request.number,
            .sector = request.offset / kSectorBytes,
            .value = 0};
}

record::Entry to_entry(const ToyEntry& entry) {
    record::Entry made{entry.kind, entry.icount, 0, {}};
    ByteWriter out(made.payload);
    for (uint64_t number : entry.numbers) out.varint(number);
    return made;
}

ToyEntry from_entry(const record::Entry& entry) {
    ToyEntry made{entry.kind, entry.icount, {}};
    ByteReader in(entry.payload);
    for (uint64_t& number : made.numbers) number = in.varint();
    CHECK(in.ok() && in.remaining() == 0, "a toy's entry is damaged");
    return made;
}

}  // namespace lockstep::sim
