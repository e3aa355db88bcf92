// SPDX-License-Identifier: Apache-2.0
// The device's side of a split virtqueue (Virtio 1.2, 2.7).
//
// The rings are the guest's memory, and the guest may write anything there. What the specification forbids
// makes the queue broken: pop() says so, and the device asks for a reset. Devices run between two guest
// instructions, so a ring never changes while it is looked at.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/strong.h"
#include "memory/guest_memory.h"

namespace lockstep::devices::virtio {

/// A piece of guest memory; it was RAM when it was taken from the queue, and RAM stays RAM.
struct Segment {
    GuestPhys at;
    uint32_t size = 0;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(at, size);
    }
};

/// One request: the buffers for the device to read, then those for it to write.
struct Chain {
    uint16_t head = 0;
    std::vector<Segment> readable;
    std::vector<Segment> writable;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(head, readable, writable);
    }
};

uint64_t total_size(const std::vector<Segment>& segments);
/// The bytes [offset, offset + size) of the segments; fewer where they end before.
Bytes gather(const memory::GuestMemory& memory, const std::vector<Segment>& segments, uint64_t offset,
             uint64_t size);
/// Appends the bytes from `offset` to the end of the segments.
void append(const memory::GuestMemory& memory, const std::vector<Segment>& segments, uint64_t offset,
            Bytes& to);
/// Writes `bytes` from byte `offset` of the segments on; returns how many fitted.
uint64_t scatter(memory::GuestMemory& memory, const std::vector<Segment>& segments, uint64_t offset,
                 ByteSpan bytes);

inline constexpr uint16_t kNoVector = 0xffff;

struct QueueState {
    uint16_t size = 0;
    uint16_t vector = kNoVector;
    bool enabled = false;
    bool broken = false;
    uint64_t descriptors = 0;
    uint64_t driver = 0;  ///< the available ring
    uint64_t device = 0;  ///< the used ring
    uint16_t next_available = 0;
    uint16_t next_used = 0;
    uint16_t checked_used = 0;  ///< next_used when take_interrupt() last looked
    template <typename Codec>
    void fields(Codec& codec) {
        codec(size, vector, enabled, broken, descriptors, driver, device, next_available, next_used,
              checked_used);
    }
};

enum class PopResult : uint8_t { kChain, kEmpty, kBroken };

class Queue {
  public:
    Queue(memory::GuestMemory& memory, uint16_t max_size) : memory_(memory), max_size_(max_size) { reset(); }

    uint16_t max_size() const { return max_size_; }
    QueueState& state() { return state_; }
    const QueueState& state() const { return state_; }
    void reset();
    /// Whether a queue could be in this state.
    bool plausible(const QueueState& state) const;
    /// The driver has chosen VIRTIO_F_EVENT_IDX.
    void use_event_index(bool use) { event_index_ = use; }

    /// Takes the next request of the driver.
    PopResult pop(Chain& chain);
    /// Gives back the request that pop() took last, as if it had not been taken.
    void unpop() { --state_.next_available; }
    /// Hands a request back to the driver; `written`: bytes that the device wrote.
    void push(uint16_t head, uint32_t written);

    /// Asks the driver to tell of its next request, or as far as possible not to. Worth calling when pop()
    /// said kEmpty.
    void want_notification(bool wanted);
    /// Whether the driver wants an interrupt for what was pushed since the last call.
    bool take_interrupt();

  private:
    bool read_chain(uint16_t head, Chain& chain);
    bool read_indirect(uint64_t table, uint32_t bytes, Chain& chain);

    memory::GuestMemory& memory_;
    const uint16_t max_size_;
    bool event_index_ = false;
    QueueState state_;
};

}  // namespace lockstep::devices::virtio
