// SPDX-License-Identifier: Apache-2.0
// The virtio entropy device (Virtio 1.2, 5.4). Random bytes are inputs: a request leaves as an output
// and is answered by a kRandomBytes entry.
#pragma once

#include <deque>

#include "devices/virtio/model.h"
#include "devices/virtio/requests.h"

namespace lockstep::devices::virtio {

struct RngInFlight {
    bus::RandomRequest request;
    Chain chain;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(request, chain);
    }
};

struct RngState {
    std::deque<RngInFlight> in_flight;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(in_flight);
    }
};

class Rng : public Model, public Requester {
  public:
    static constexpr uint16_t kQueueSize = 16;
    static constexpr uint32_t kRequestBytes = 4096;

    Rng(uint16_t number, RequestNumbers& numbers, bus::OutputSink& sink)
        : number_(number), numbers_(numbers), sink_(sink) {}

    std::vector<UnansweredRequest> unanswered() const override;

    std::string_view name() const override { return "rng"; }
    Type type() const override { return Type::kEntropy; }
    uint32_t pci_class() const override { return 0x00ff00; }
    uint64_t features() const override { return 0; }
    std::vector<uint16_t> queue_sizes() const override { return {kQueueSize}; }
    Bytes config() const override { return {}; }
    void notified(unsigned queue) override;
    void reset() override { state_ = {}; }
    void input(const record::Entry& entry) override;
    void save(ByteWriter& out) const override;
    Result<void> load(ByteReader& in) override;

  private:
    bus::Output output_of(const bus::RandomRequest& request) const;

    const uint16_t number_;
    RequestNumbers& numbers_;
    bus::OutputSink& sink_;
    RngState state_;
};

}  // namespace lockstep::devices::virtio
