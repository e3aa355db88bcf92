// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/net/net.h"

#include <algorithm>

#include "record/packets.h"
#include "record/payloads.h"

namespace lockstep::devices::virtio {

namespace {

// Feature bits (Virtio 1.2, 5.1.3). "Guest": the driver takes such packets; "host": it may send them.
constexpr uint64_t kChecksum = 1 << 0, kGuestChecksum = 1 << 1, kMac = 1 << 5, kGuestTcp4 = 1 << 7,
                   kGuestTcp6 = 1 << 8, kGuestEcn = 1 << 9, kHostTcp4 = 1 << 11, kHostTcp6 = 1 << 12,
                   kHostEcn = 1 << 13, kMergeBuffers = 1 << 15, kStatus = 1 << 16;
constexpr uint64_t kPlainFeatures = kChecksum | kMac | kStatus;
constexpr uint64_t kOffloadFeatures =
    kGuestChecksum | kGuestTcp4 | kGuestTcp6 | kGuestEcn | kHostTcp4 | kHostTcp6 | kHostEcn | kMergeBuffers;

constexpr unsigned kReceive = 0, kTransmit = 1;
constexpr uint16_t kLinkUp = 1;

/// Fills in the internet checksum that was left to be completed: over all from `start` on, the field itself
/// holding the sum of the pseudo-header. A place outside the frame is left alone.
void complete_checksum(std::span<uint8_t> frame, size_t start, size_t offset) {
    if (start + offset + 2 > frame.size()) return;
    uint64_t sum = 0;
    for (size_t i = start; i + 1 < frame.size(); i += 2) sum += frame[i] << 8 | frame[i + 1];
    if ((frame.size() - start) % 2) sum += frame.back() << 8;
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    uint16_t result = static_cast<uint16_t>(~sum);
    frame[start + offset] = static_cast<uint8_t>(result >> 8);
    frame[start + offset + 1] = static_cast<uint8_t>(result);
}

}  // namespace

Net::Net(uint16_t number, std::string name, std::array<uint8_t, 6> mac, NetFeatures features,
         bus::OutputSink& sink)
    : number_(number), name_(std::move(name)), mac_(mac), features_(features), sink_(sink) {}

uint64_t Net::features() const {
    return features_ == NetFeatures::kOffloads ? kPlainFeatures | kOffloadFeatures : kPlainFeatures;
}

Bytes Net::config() const {
    Bytes bytes;
    ByteWriter out(bytes);
    out.raw(mac_);
    out.fixed(kLinkUp);
    return bytes;
}

// --- What the driver understands

/// Segments need checksums: bits that the driver chose without those they depend on don't count.
bus::NetworkOffloads Net::driver_offloads() const {
    const Transport& driver = transport();
    bus::NetworkOffloads offloads;
    offloads.checksum = driver.negotiated(kGuestChecksum);
    offloads.tcp4 = offloads.checksum && driver.negotiated(kGuestTcp4);
    offloads.tcp6 = offloads.checksum && driver.negotiated(kGuestTcp6);
    offloads.ecn = (offloads.tcp4 || offloads.tcp6) && driver.negotiated(kGuestEcn);
    return offloads;
}

void Net::started() {
    transport().queue(kReceive).want_notification(false);
    sink_.output({number_, driver_offloads()});
}

std::vector<UnansweredRequest> Net::unanswered() const {
    if (!transport().running()) return {};
    return {{0, {number_, driver_offloads()}}};
}

bool Net::driver_takes(const NetHeader& header) const {
    bus::NetworkOffloads offloads = driver_offloads();
    if (header.segmentation & kNetEcn && !offloads.ecn) return false;
    switch (header.protocol()) {
        case kNetNotSegmented:
            return true;
        case kNetTcp4:
            return offloads.tcp4;
        case kNetTcp6:
            return offloads.tcp6;
        default:
            return false;
    }
}

void Net::reset() {
    state_ = {};
    backlog_bytes_ = 0;
}

void Net::notified(unsigned queue) {
    if (queue == kTransmit)
        send();
    else
        fill();
}

// --- Packets to the guest

void Net::input(const record::Entry& entry) {
    if (entry.kind != record::EntryKind::kNetworkReceive) return;
    Result<std::vector<ByteSpan>> packets = record::packet_views(entry.payload);
    if (!packets) return;
    for (ByteSpan packet : packets.value()) arrive(packet);
    if (transport().running()) fill();
}

void Net::arrive(ByteSpan packet) {
    bool sound = packet.size() > kNetHeaderSize && packet.size() <= kNetHeaderSize + kFrameBytes;
    if (!sound || !transport().running() || !driver_takes(read_net_header(packet))) {
        ++state_.dropped;
        return;
    }
    NetHeader header = read_net_header(packet);
    if (header.needs_checksum() && !driver_offloads().checksum) {
        Bytes mended(packet.begin(), packet.end());
        complete_checksum(std::span(mended).subspan(kNetHeaderSize), header.checksum_start,
                          header.checksum_offset);
        return keep(mended);
    }
    if (!state_.backlog.empty()) return keep(packet);
    switch (place(packet)) {
        case Placed::kDone:
            return;
        case Placed::kNoBuffers:
            return keep(packet);
        case Placed::kBroken:
            ++state_.dropped;
            return transport().fail();
    }
}

/// The packet waits for buffers.
void Net::keep(ByteSpan packet) {
    if (state_.backlog.size() >= kBacklog || backlog_bytes_ + packet.size() > kBacklogBytes) {
        ++state_.dropped;
        return;
    }
    state_.backlog.emplace_back(packet.begin(), packet.end());
    backlog_bytes_ += packet.size();
}

/// Moves waiting packets into the guest's buffers, and tells it of all that reached them.
void Net::fill() {
    while (!state_.backlog.empty()) {
        Placed placed = place(state_.backlog.front());
        if (placed == Placed::kBroken) return transport().fail();
        if (placed == Placed::kNoBuffers) break;
        backlog_bytes_ -= state_.backlog.front().size();
        state_.backlog.pop_front();
    }
    transport().queue(kReceive).want_notification(!state_.backlog.empty());
    transport().used(kReceive);
}

/// kDone: the packet is in the guest's buffers, or dropped because it fits into none.
Net::Placed Net::place(ByteSpan packet) {
    size_t taken = 0;
    Placed placed = take_buffers(packet.size(), taken);
    if (placed != Placed::kDone) return placed;
    if (taken == 0)
        ++state_.dropped;
    else
        write_to_guest(taken, packet);
    return Placed::kDone;
}

/// Takes buffers for `size` bytes into buffers_: several only of a driver that merges them. `taken` 0: they
/// can't hold so much.
Net::Placed Net::take_buffers(size_t size, size_t& taken) {
    Queue& queue = transport().queue(kReceive);
    size_t most = transport().negotiated(kMergeBuffers) ? queue.state().size : 1;
    size_t room = 0;
    for (taken = 0; room < size && taken < most; ++taken) {
        if (buffers_.size() == taken) buffers_.emplace_back();
        PopResult result = queue.pop(buffers_[taken]);
        if (result == PopResult::kBroken) return Placed::kBroken;
        if (result == PopResult::kEmpty) {
            for (; taken > 0; --taken) queue.unpop();
            return Placed::kNoBuffers;
        }
        room += total_size(buffers_[taken].writable);
    }
    if (room < size)
        for (; taken > 0; --taken) queue.unpop();
    return Placed::kDone;
}

void Net::write_to_guest(size_t taken, ByteSpan packet) {
    NetHeader header = read_net_header(packet);
    bool checksums = driver_offloads().checksum;
    header.flags &= checksums ? kNetNeedsChecksum | kNetDataValid : 0;
    if (!header.needs_checksum()) header.checksum_start = header.checksum_offset = 0;
    header.buffers = static_cast<uint16_t>(taken);
    ByteSpan head = bytes_of(header), frame = packet.subspan(kNetHeaderSize);
    for (size_t i = 0; i < taken; ++i) {
        const Chain& buffer = buffers_[i];
        uint64_t head_written = scatter(transport().memory(), buffer.writable, 0, head);
        uint64_t frame_written = scatter(transport().memory(), buffer.writable, head_written, frame);
        head = head.subspan(head_written);
        frame = frame.subspan(frame_written);
        transport().queue(kReceive).push(buffer.head, static_cast<uint32_t>(head_written + frame_written));
    }
    ++state_.received;
}

// --- Packets from the guest

/// Whether a packet with this header is one that the driver may send; what it may not say is taken out.
bool Net::may_leave(NetHeader& header) const {
    header.flags &= kNetNeedsChecksum;
    header.buffers = 0;
    if (header.segmentation & kNetEcn && !transport().negotiated(kHostEcn)) return false;
    switch (header.protocol()) {
        case kNetNotSegmented:
            return true;
        case kNetTcp4:
            return transport().negotiated(kHostTcp4);
        case kNetTcp6:
            return transport().negotiated(kHostTcp6);
        default:
            return false;
    }
}

/// The header with which the packet may leave; false where there is none that may.
bool Net::take_header(const Chain& chain, NetHeader& header) {
    uint64_t size = total_size(chain.readable);
    if (size <= kNetHeaderSize || size > kNetHeaderSize + kFrameBytes) return false;
    Bytes head = gather(transport().memory(), chain.readable, 0, kNetHeaderSize);
    header = read_net_header(head);
    if (!transport().negotiated(kChecksum)) header.flags = 0;
    return may_leave(header);
}

void Net::send() {
    Queue& queue = transport().queue(kTransmit);
    headers_.clear();
    PopResult result;
    for (;;) {
        size_t taken = headers_.size();
        if (outgoing_.size() == taken) outgoing_.emplace_back();
        result = queue.pop(outgoing_[taken]);
        if (result != PopResult::kChain) break;
        NetHeader header;
        if (take_header(outgoing_[taken], header)) {
            headers_.push_back(header);
        } else {
            queue.push(outgoing_[taken].head, 0);
            ++state_.dropped;
        }
    }
    if (!headers_.empty()) leave(headers_.size());
    if (result == PopResult::kBroken) return transport().fail();
    queue.want_notification(true);
    transport().used(kTransmit);
}

/// The first `taken` of outgoing_ leave as one output, made without a copy between.
void Net::leave(size_t taken) {
    size_t bytes = 0;
    for (size_t i = 0; i < taken; ++i) bytes += total_size(outgoing_[i].readable);
    bus::Packets packets;
    packets.bytes.reserve(bytes);
    packets.ends.reserve(taken);
    for (size_t i = 0; i < taken; ++i) {
        const Chain& packet = outgoing_[i];
        ByteWriter(packets.bytes).raw(bytes_of(headers_[i]));
        append(transport().memory(), packet.readable, kNetHeaderSize, packets.bytes);
        packets.end_packet();
        transport().queue(kTransmit).push(packet.head, 0);
    }
    state_.sent += taken;
    sink_.output({number_, std::move(packets)});
}

// --- State

void Net::save(ByteWriter& out) const { record::write_fields(out, state_); }

Result<void> Net::load(ByteReader& in) {
    NetState state;
    TRY(record::read_fields(in, state, name_));
    state_ = std::move(state);
    backlog_bytes_ = 0;
    for (const Bytes& packet : state_.backlog) backlog_bytes_ += packet.size();
    return {};
}

}  // namespace lockstep::devices::virtio
