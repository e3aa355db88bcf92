// SPDX-License-Identifier: Apache-2.0
// The virtio block device (Virtio 1.2, 5.2).
//
// A request's data is copied out of guest memory when the request is made and into it when the completion is
// delivered, never in between: guest memory changes at instructions that the log names. Requests on their way
// are part of the state, complete, so that whoever goes on with this machine can issue them again.
#pragma once

#include <deque>
#include <string>

#include "devices/virtio/model.h"
#include "devices/virtio/requests.h"

namespace lockstep::devices::virtio {

struct BlockConfig {
    uint64_t size_bytes = 0;  ///< a multiple of 512
    bool read_only = false;
    std::string serial;
};

struct BlockInFlight {
    bus::DiskRequest request;
    Chain chain;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(request, chain);
    }
};

struct BlockState {
    std::deque<BlockInFlight> in_flight;
    /// Running hash of every write that was issued since power-on: place and data, in order. Nothing in the guest
    /// reads it. What goes to an image is seen by no other hash once the guest has used its memory for something else.
    uint64_t hash_of_writes = 0;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(in_flight, hash_of_writes);
    }
};

class Block : public Model, public Requester {
  public:
    static constexpr uint64_t kSector = 512;
    static constexpr uint16_t kQueueSize = 128;
    static constexpr uint32_t kSegments = 64, kSegmentBytes = 64 << 10;
    static constexpr uint64_t kRequestBytes = uint64_t{kSegments} * kSegmentBytes;

    Block(uint16_t number, std::string name, BlockConfig config, RequestNumbers& numbers,
          bus::OutputSink& sink);

    std::vector<UnansweredRequest> unanswered() const override;
    const BlockState& state() const { return state_; }

    std::string_view name() const override { return name_; }
    Type type() const override { return Type::kBlock; }
    uint32_t pci_class() const override { return 0x010000; }
    uint64_t features() const override;
    std::vector<uint16_t> queue_sizes() const override { return {kQueueSize}; }
    Bytes config() const override;
    void notified(unsigned queue) override;
    /// What was written stays written, so its hash goes on.
    void reset() override { state_.in_flight.clear(); }
    void input(const record::Entry& entry) override;
    void save(ByteWriter& out) const override;
    Result<void> load(ByteReader& in) override;

  private:
    void take(Chain& chain);
    void issue(bus::DiskOperation operation, uint64_t sector, Chain& chain);
    void finish(const Chain& chain, uint8_t status, uint64_t written);
    bus::Output output_of(const bus::DiskRequest& request) const;

    const uint16_t number_;
    const std::string name_;
    const BlockConfig config_;
    RequestNumbers& numbers_;
    bus::OutputSink& sink_;
    BlockState state_;
};

}  // namespace lockstep::devices::virtio
