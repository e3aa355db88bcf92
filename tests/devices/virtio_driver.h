// SPDX-License-Identifier: Apache-2.0
// A small virtio driver: enough to bring a device up, to put buffers into its queues and to see what came
// back.
#pragma once

#include <optional>
#include <vector>

#include "devices/virtio/pci/transport.h"
#include "kit.h"

namespace lockstep::devices::virtio {

struct Buffer {
    uint64_t at;
    uint32_t size;
    bool writable;
};

struct UsedElement {
    uint32_t head;
    uint32_t written;
    bool operator==(const UsedElement&) const = default;
};

/// One queue's rings in guest memory: descriptors at `base`, then the available and the used ring.
class DriverQueue {
  public:
    DriverQueue(memory::GuestMemory& memory, uint64_t base, uint16_t entries)
        : descriptors(base), driver(base + 0x2000), device(base + 0x3000), size(entries), memory_(memory) {}

    /// Makes one chain of the buffers and offers it; returns its head.
    uint16_t add(const std::vector<Buffer>& buffers) {
        uint16_t head = next_descriptor_;
        for (size_t i = 0; i < buffers.size(); ++i) {
            bool last = i + 1 == buffers.size();
            uint16_t flags = static_cast<uint16_t>((buffers[i].writable ? 2 : 0) | (last ? 0 : 1));
            put_descriptor(next_descriptor_, buffers[i].at, buffers[i].size, flags,
                           static_cast<uint16_t>((next_descriptor_ + 1) % size));
            next_descriptor_ = static_cast<uint16_t>((next_descriptor_ + 1) % size);
        }
        offer(head);
        return head;
    }
    void put_descriptor(uint16_t index, uint64_t at, uint32_t bytes, uint16_t flags, uint16_t next) {
        put_descriptor_at(descriptors + 16ull * index, at, bytes, flags, next);
    }
    void put_descriptor_at(uint64_t where, uint64_t at, uint32_t bytes, uint16_t flags, uint16_t next) {
        memory_.write_number<uint64_t>(GuestPhys(where), at);
        memory_.write_number<uint32_t>(GuestPhys(where + 8), bytes);
        memory_.write_number<uint16_t>(GuestPhys(where + 12), flags);
        memory_.write_number<uint16_t>(GuestPhys(where + 14), next);
    }
    void offer(uint16_t head) {
        memory_.write_number<uint16_t>(GuestPhys(driver + 4 + 2 * (available_ % size)), head);
        ++available_;
        memory_.write_number<uint16_t>(GuestPhys(driver + 2), available_);
    }
    /// What the device has handed back since the last call.
    std::vector<UsedElement> take_used() {
        std::vector<UsedElement> elements;
        while (used_ != memory_.read_number<uint16_t>(GuestPhys(device + 2))) {
            uint64_t slot = device + 4 + 8 * (used_ % size);
            elements.push_back({memory_.read_number<uint32_t>(GuestPhys(slot)),
                                memory_.read_number<uint32_t>(GuestPhys(slot + 4))});
            ++used_;
        }
        return elements;
    }
    uint16_t used_flags() const { return memory_.read_number<uint16_t>(GuestPhys(device)); }
    uint16_t available_event() const {
        return memory_.read_number<uint16_t>(GuestPhys(device + 4 + 8 * size));
    }
    void set_used_event(uint16_t value) {
        memory_.write_number<uint16_t>(GuestPhys(driver + 4 + 2 * size), value);
    }
    void set_no_interrupt(bool none) { memory_.write_number<uint16_t>(GuestPhys(driver), none); }

    const uint64_t descriptors, driver, device;
    const uint16_t size;

  private:
    memory::GuestMemory& memory_;
    uint16_t next_descriptor_ = 0;
    uint16_t available_ = 0;
    uint16_t used_ = 0;
};

/// A device with its transport, and the driver's hands on it.
class VirtioBench {
  public:
    static constexpr uint64_t kRings = 0x10000, kRingStep = 0x4000, kVectorBase = 0x40;

    explicit VirtioBench(std::unique_ptr<Model> model)
        : transport(std::move(model), *memory, messages, line, PciPlace{0xc0000000, 16}) {
        transport.reset();
    }

    uint64_t read(uint64_t offset, unsigned size) { return transport.read_register(offset, size); }
    void write(uint64_t offset, unsigned size, uint64_t value) {
        transport.write_register(offset, size, value);
    }
    uint8_t status() { return static_cast<uint8_t>(read(20, 1)); }
    uint64_t offered_features() {
        write(0, 4, 0);
        uint64_t low = read(4, 4);
        write(0, 4, 1);
        return low | read(4, 4) << 32;
    }

    /// Negotiates, sets up every queue with `queue_size` entries and MSI-X, and starts the device.
    void start(uint64_t features, uint16_t queue_size = 16) {
        features |= kFeatureVersion1;
        write(20, 1, 0);
        write(20, 1, 1);
        write(20, 1, 3);
        for (unsigned half = 0; half < 2; ++half) {
            write(8, 4, half);
            write(12, 4, static_cast<uint32_t>(features >> 32 * half));
        }
        write(20, 1, 0xb);
        ASSERT_EQ(status(), 0xb);
        enable_msix();
        write(16, 2, 0);
        queues.clear();
        for (unsigned i = 0; i < transport.model().queue_sizes().size(); ++i) start_queue(i, queue_size);
        write(20, 1, 0xf);
        ASSERT_EQ(status(), 0xf);
    }
    void start_queue(unsigned number, uint16_t queue_size) {
        uint64_t base = kRings + number * kRingStep;
        for (uint64_t at = base; at < base + kRingStep; at += 8)
            memory->write_number<uint64_t>(GuestPhys(at), 0);
        DriverQueue& queue = queues.emplace_back(*memory, base, queue_size);
        write(22, 2, number);
        write(24, 2, queue_size);
        write(26, 2, number + 1);
        write(32, 4, static_cast<uint32_t>(queue.descriptors));
        write(36, 4, 0);
        write(40, 8, queue.driver);
        write(48, 8, queue.device);
        write(28, 2, 1);
    }
    /// Vector n of the table sends the data kVectorBase + n.
    void enable_msix() {
        unsigned capability = find_capability(17);
        unsigned vectors = (transport.read_config(capability + 2, 2) & 0x7ff) + 1;
        for (unsigned i = 0; i < vectors; ++i) {
            write(0x4000 + 16 * i, 4, 0xfee00000);
            write(0x4000 + 16 * i + 4, 4, 0);
            write(0x4000 + 16 * i + 8, 4, kVectorBase + i);
            write(0x4000 + 16 * i + 12, 4, 0);
        }
        transport.write_config(capability + 2, 2, 0x8000);
    }
    unsigned find_capability(uint8_t number) {
        unsigned at = transport.read_config(0x34, 1);
        while (at && transport.read_config(at, 1) != number) at = transport.read_config(at + 1, 1);
        return at;
    }
    void notify(unsigned queue) { write(0x3000 + 4 * queue, 2, queue); }

    void put(uint64_t at, ByteSpan bytes) { ASSERT_TRUE(memory->write(GuestPhys(at), bytes)); }
    Bytes get(uint64_t at, size_t size) {
        Bytes bytes(size);
        EXPECT_TRUE(memory->read(GuestPhys(at), bytes));
        return bytes;
    }
    /// Messages of a queue's vector since the last call.
    size_t take_interrupts(unsigned queue) {
        size_t count = 0;
        for (const Message& message : messages.sent) count += message.data == kVectorBase + queue + 1;
        messages.sent.clear();
        return count;
    }

    std::unique_ptr<memory::GuestMemory> memory = make_memory();
    TestMessages messages;
    TestLine line;
    PciTransport transport;
    std::vector<DriverQueue> queues;
};

}  // namespace lockstep::devices::virtio
