// SPDX-License-Identifier: Apache-2.0
// The virtio console (Virtio 1.2, 5.3): one port. What the guest hands over at one notification leaves as one
// output.
#pragma once

#include <algorithm>
#include <deque>

#include "devices/virtio/model.h"

namespace lockstep::devices::virtio {

struct ConsoleState {
    std::deque<uint8_t> waiting;  ///< input for which the guest has given no buffer yet
    template <typename Codec>
    void fields(Codec& codec) {
        codec(waiting);
    }
};

class Console : public Model {
  public:
    static constexpr uint16_t kQueueSize = 64;
    /// Input beyond this many waiting bytes is lost; who has more waits for room.
    static constexpr size_t kWaitingLimit = 8192;

    Console(uint16_t number, bus::OutputSink& sink) : number_(number), sink_(sink) {}

    std::string_view name() const override { return "console"; }
    Type type() const override { return Type::kConsole; }
    uint32_t pci_class() const override { return 0x078000; }
    uint64_t features() const override { return 0; }
    std::vector<uint16_t> queue_sizes() const override { return {kQueueSize, kQueueSize}; }
    Bytes config() const override { return {}; }
    void notified(unsigned queue) override;
    void reset() override { state_ = {}; }
    void input(const record::Entry& entry) override;
    size_t input_room() const override {
        return kWaitingLimit - std::min(state_.waiting.size(), kWaitingLimit);
    }
    void save(ByteWriter& out) const override;
    Result<void> load(ByteReader& in) override;

  private:
    void fill();
    void send();

    const uint16_t number_;
    bus::OutputSink& sink_;
    ConsoleState state_;
};

}  // namespace lockstep::devices::virtio
