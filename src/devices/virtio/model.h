// SPDX-License-Identifier: Apache-2.0
// A virtio device without its transport: what the device does with its queues. The transport (virtio/pci)
// owns the queues, the negotiation and the interrupts.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "bus/device.h"
#include "devices/virtio/queue/queue.h"

namespace lockstep::devices::virtio {

/// Device types (Virtio 1.2, 5).
enum class Type : uint16_t { kNetwork = 1, kBlock = 2, kConsole = 3, kEntropy = 4 };

// Features of every device (Virtio 1.2, 6). The transport offers these itself.
inline constexpr uint64_t kFeatureIndirect = 1ull << 28, kFeatureEventIndex = 1ull << 29,
                          kFeatureVersion1 = 1ull << 32;

/// What a model asks of its transport.
class Transport {
  public:
    virtual ~Transport() = default;
    virtual Queue& queue(unsigned number) = 0;
    virtual memory::GuestMemory& memory() = 0;
    virtual bool negotiated(uint64_t feature) const = 0;
    /// The driver runs the device, and the device hasn't given up.
    virtual bool running() const = 0;
    /// Interrupts the driver for what was pushed to the queue, if it wants that.
    virtual void used(unsigned queue) = 0;
    /// The driver did what it must not: the device stops until it is reset.
    virtual void fail() = 0;
};

class Model {
  public:
    virtual ~Model() = default;
    void attach(Transport& transport) { transport_ = &transport; }

    virtual std::string_view name() const = 0;
    virtual Type type() const = 0;
    /// Class, subclass and programming interface of the PCI function, as 0xCCSSPP.
    virtual uint32_t pci_class() const = 0;
    virtual uint64_t features() const = 0;
    /// The greatest size of each queue.
    virtual std::vector<uint16_t> queue_sizes() const = 0;
    /// The device's own configuration space.
    virtual Bytes config() const = 0;

    /// The driver has put requests into the queue.
    virtual void notified(unsigned queue) = 0;
    /// The driver has started the device.
    virtual void started() {}
    virtual void reset() = 0;
    virtual void input(const record::Entry& entry) = 0;
    /// See bus::Device.
    virtual size_t input_room() const { return SIZE_MAX; }
    virtual void save(ByteWriter& out) const = 0;
    virtual Result<void> load(ByteReader& in) = 0;

  protected:
    Transport& transport() { return *transport_; }
    const Transport& transport() const { return *transport_; }

  private:
    Transport* transport_ = nullptr;
};

}  // namespace lockstep::devices::virtio
