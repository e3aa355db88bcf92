// The virtio network device (Virtio 1.2, 5.1): one pair of queues.
//
// All packets that are ready when the guest notifies leave as one output; a batch of received packets is one
// entry and at most one interrupt. Packets that find no buffer wait, up to kBacklog of them; later ones are
// dropped and counted. The device completes the guest's checksums; it offers no segmentation.
#pragma once

#include <array>
#include <deque>
#include <string>

#include "devices/virtio/model.h"

namespace lockstep::devices::virtio {

struct NetState {
    std::deque<Bytes> backlog;
    uint64_t received = 0;  ///< packets that reached the guest
    uint64_t sent = 0;
    uint64_t dropped = 0;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(backlog, received, sent, dropped);
    }
};

class Net : public Model {
  public:
    static constexpr uint16_t kQueueSize = 256;
    static constexpr size_t kBacklog = 512;
    static constexpr size_t kPacketBytes = 65550;

    Net(uint16_t number, std::string name, std::array<uint8_t, 6> mac, bus::OutputSink& sink);

    const NetState& state() const { return state_; }

    std::string_view name() const override { return name_; }
    Type type() const override { return Type::kNetwork; }
    uint32_t pci_class() const override { return 0x020000; }
    uint64_t features() const override;
    std::vector<uint16_t> queue_sizes() const override { return {kQueueSize, kQueueSize}; }
    Bytes config() const override;
    void notified(unsigned queue) override;
    void started() override;
    void reset() override { state_ = {}; }
    void input(const record::Entry& entry) override;
    void save(ByteWriter& out) const override;
    Result<void> load(ByteReader& in) override;

  private:
    void fill();
    void send();

    const uint16_t number_;
    const std::string name_;
    const std::array<uint8_t, 6> mac_;
    bus::OutputSink& sink_;
    NetState state_;
};

}  // namespace lockstep::devices::virtio
