// SPDX-License-Identifier: Apache-2.0
// The virtio network device (Virtio 1.2, 5.1): one pair of queues.
//
// All packets that are ready when the guest notifies leave as one output; a batch of received packets is one
// entry and at most one interrupt. Packets that find no buffer wait, within bounds; later ones are dropped
// and counted.
//
// Offloads: a packet crosses the border of the machine with its virtio header (net/header.h), so checksums
// and the cutting of large TCP packets into segments are left to whoever needs them. The host must send the
// guest nothing that its driver doesn't understand: whenever a driver starts, an output (bus::NetworkOffloads)
// says what it does. What comes all the same, having been on its way, is mended here (checksums) or dropped.
#pragma once

#include <array>
#include <deque>
#include <string>

#include "devices/virtio/model.h"
#include "devices/virtio/net/header.h"
#include "devices/virtio/requests.h"

namespace lockstep::devices::virtio {

enum class NetFeatures : uint8_t {
    kPlain,     ///< the guest may leave its checksums to the device, no more
    kOffloads,  ///< checksums and segments both ways, packets across several buffers
};

struct NetState {
    std::deque<Bytes> backlog;  ///< packets with their headers
    uint64_t received = 0;      ///< packets that reached the guest
    uint64_t sent = 0;
    uint64_t dropped = 0;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(backlog, received, sent, dropped);
    }
};

class Net : public Model, public Requester {
  public:
    static constexpr uint16_t kQueueSize = 256;
    static constexpr size_t kBacklog = 512;  ///< packets
    static constexpr size_t kBacklogBytes = 4u << 20;
    static constexpr size_t kFrameBytes = 65550;  ///< the longest, without the virtio header

    Net(uint16_t number, std::string name, std::array<uint8_t, 6> mac, NetFeatures features,
        bus::OutputSink& sink);

    const NetState& state() const { return state_; }

    std::string_view name() const override { return name_; }
    Type type() const override { return Type::kNetwork; }
    uint32_t pci_class() const override { return 0x020000; }
    uint64_t features() const override;
    std::vector<uint16_t> queue_sizes() const override { return {kQueueSize, kQueueSize}; }
    Bytes config() const override;
    void notified(unsigned queue) override;
    void started() override;
    void reset() override;
    void input(const record::Entry& entry) override;
    void save(ByteWriter& out) const override;
    Result<void> load(ByteReader& in) override;
    /// What the host must be told of the driver, once more.
    std::vector<UnansweredRequest> unanswered() const override;

  private:
    enum class Placed : uint8_t { kDone, kNoBuffers, kBroken };

    /// What the driver takes of received packets.
    bus::NetworkOffloads driver_offloads() const;
    bool driver_takes(const NetHeader& header) const;
    void arrive(ByteSpan packet);
    void keep(ByteSpan packet);
    void fill();
    Placed place(ByteSpan packet);
    Placed take_buffers(size_t size, size_t& taken);
    void write_to_guest(size_t taken, ByteSpan packet);
    bool may_leave(NetHeader& header) const;
    bool take_header(const Chain& chain, NetHeader& header);
    void send();
    void leave(size_t taken);

    const uint16_t number_;
    const std::string name_;
    const std::array<uint8_t, 6> mac_;
    const NetFeatures features_;
    bus::OutputSink& sink_;
    NetState state_;
    size_t backlog_bytes_ = 0;  ///< of state_.backlog
    // Kept between calls, so that their vectors keep their memory.
    std::vector<Chain> buffers_;  ///< of one packet to the guest
    std::vector<Chain> outgoing_;
    std::vector<NetHeader> headers_;  ///< of those of outgoing_ that may leave
};

}  // namespace lockstep::devices::virtio
