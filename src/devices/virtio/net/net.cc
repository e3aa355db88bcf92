#include "devices/virtio/net/net.h"

#include "record/payloads.h"

namespace lockstep::devices::virtio {

namespace {

constexpr uint64_t kFeatureChecksum = 1 << 0, kFeatureMac = 1 << 5, kFeatureStatus = 1 << 16;
constexpr unsigned kReceive = 0, kTransmit = 1;
constexpr uint16_t kLinkUp = 1;

// virtio_net_hdr: flags, segmentation type, header length, segment size, checksum start and offset, buffers.
constexpr size_t kHeaderSize = 12;
constexpr uint8_t kNeedsChecksum = 1;
constexpr size_t kBufferCount = 10;

// Fills in the internet checksum that the guest left to the device: over all from `start` on, the field
// itself holding the sum of the pseudo-header.
void complete_checksum(Bytes& packet, size_t start, size_t offset) {
    if (start + offset + 2 > packet.size()) return;
    uint64_t sum = 0;
    for (size_t i = start; i + 1 < packet.size(); i += 2) sum += packet[i] << 8 | packet[i + 1];
    if ((packet.size() - start) % 2) sum += packet.back() << 8;
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    uint16_t result = static_cast<uint16_t>(~sum);
    packet[start + offset] = static_cast<uint8_t>(result >> 8);
    packet[start + offset + 1] = static_cast<uint8_t>(result);
}

}  // namespace

Net::Net(uint16_t number, std::string name, std::array<uint8_t, 6> mac, bus::OutputSink& sink)
    : number_(number), name_(std::move(name)), mac_(mac), sink_(sink) {}

uint64_t Net::features() const { return kFeatureChecksum | kFeatureMac | kFeatureStatus; }

Bytes Net::config() const {
    Bytes bytes;
    ByteWriter out(bytes);
    out.raw(mac_);
    out.fixed(kLinkUp);
    return bytes;
}

void Net::started() { transport().queue(kReceive).want_notification(false); }

void Net::notified(unsigned queue) {
    if (queue == kTransmit)
        send();
    else
        fill();
}

void Net::input(const record::Entry& entry) {
    Result<record::NetworkReceive> batch = record::decode<record::NetworkReceive>(entry);
    if (!batch) return;
    for (Bytes& packet : batch.value().packets) {
        if (transport().running() && state_.backlog.size() < kBacklog && packet.size() <= kPacketBytes)
            state_.backlog.push_back(std::move(packet));
        else
            ++state_.dropped;
    }
    if (transport().running()) fill();
}

// Moves waiting packets into the guest's buffers.
void Net::fill() {
    Queue& queue = transport().queue(kReceive);
    Chain chain;
    while (!state_.backlog.empty()) {
        PopResult result = queue.pop(chain);
        if (result == PopResult::kBroken) return transport().fail();
        if (result == PopResult::kEmpty) break;
        const Bytes& packet = state_.backlog.front();
        if (total_size(chain.writable) < kHeaderSize + packet.size()) {
            queue.unpop();
            ++state_.dropped;
        } else {
            uint8_t header[kHeaderSize] = {};
            header[kBufferCount] = 1;
            scatter(transport().memory(), chain.writable, 0, header);
            scatter(transport().memory(), chain.writable, kHeaderSize, packet);
            queue.push(chain.head, static_cast<uint32_t>(kHeaderSize + packet.size()));
            ++state_.received;
        }
        state_.backlog.pop_front();
    }
    queue.want_notification(!state_.backlog.empty());
    transport().used(kReceive);
}

void Net::send() {
    Queue& queue = transport().queue(kTransmit);
    Chain chain;
    record::NetworkReceive batch;
    PopResult result;
    while ((result = queue.pop(chain)) == PopResult::kChain) {
        Bytes header = gather(transport().memory(), chain.readable, 0, kHeaderSize);
        uint64_t size = total_size(chain.readable);
        if (size > kHeaderSize && size <= kHeaderSize + kPacketBytes) {
            Bytes packet = gather(transport().memory(), chain.readable, kHeaderSize, size);
            if (header[0] & kNeedsChecksum && transport().negotiated(kFeatureChecksum))
                complete_checksum(packet, header[6] | header[7] << 8, header[8] | header[9] << 8);
            batch.packets.push_back(std::move(packet));
        }
        queue.push(chain.head, 0);
    }
    state_.sent += batch.packets.size();
    if (!batch.packets.empty()) sink_.output({bus::OutputKind::kPackets, number_, record::encode(batch)});
    if (result == PopResult::kBroken) return transport().fail();
    queue.want_notification(true);
    transport().used(kTransmit);
}

void Net::save(ByteWriter& out) const { record::write_fields(out, state_); }

Result<void> Net::load(ByteReader& in) {
    NetState state;
    TRY(record::read_fields(in, state, name_));
    state_ = std::move(state);
    return {};
}

}  // namespace lockstep::devices::virtio
