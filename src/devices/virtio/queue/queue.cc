// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/queue/queue.h"

#include <algorithm>
#include <bit>

namespace lockstep::devices::virtio {

namespace {

constexpr uint16_t kNext = 1, kWrite = 2, kIndirect = 4;
constexpr uint16_t kNoInterrupt = 1, kNoNotify = 1;
constexpr uint32_t kMaxIndirect = 1024;

struct Descriptor {
    uint64_t address;
    uint32_t size;
    uint16_t flags;
    uint16_t next;
};
static_assert(sizeof(Descriptor) == 16);

bool read_descriptor(const memory::GuestMemory& memory, uint64_t table, uint32_t index,
                     Descriptor& descriptor) {
    return memory.read(GuestPhys(table + 16ull * index),
                       {reinterpret_cast<uint8_t*>(&descriptor), sizeof descriptor});
}

// Buffers to write come after those to read, and all are RAM.
bool add_segment(const memory::GuestMemory& memory, const Descriptor& descriptor, Chain& chain) {
    if (!memory.is_ram(GuestPhys(descriptor.address), descriptor.size)) return false;
    bool writable = descriptor.flags & kWrite;
    if (!writable && !chain.writable.empty()) return false;
    (writable ? chain.writable : chain.readable).push_back({GuestPhys(descriptor.address), descriptor.size});
    return true;
}

}  // namespace

uint64_t total_size(const std::vector<Segment>& segments) {
    uint64_t total = 0;
    for (const Segment& segment : segments) total += segment.size;
    return total;
}

Bytes gather(const memory::GuestMemory& memory, const std::vector<Segment>& segments, uint64_t offset,
             uint64_t size) {
    uint64_t total = total_size(segments);
    Bytes bytes(offset >= total ? 0 : std::min(size, total - offset));
    uint64_t done = 0;
    for (const Segment& segment : segments) {
        if (offset >= segment.size) {
            offset -= segment.size;
            continue;
        }
        uint64_t part = std::min<uint64_t>(segment.size - offset, bytes.size() - done);
        memory.read(segment.at + offset, std::span(bytes).subspan(done, part));
        done += part;
        offset = 0;
    }
    return bytes;
}

void append(const memory::GuestMemory& memory, const std::vector<Segment>& segments, uint64_t offset,
            Bytes& to) {
    for (const Segment& segment : segments) {
        if (offset >= segment.size) {
            offset -= segment.size;
            continue;
        }
        const uint8_t* from = memory.host(segment.at + offset);
        to.insert(to.end(), from, from + (segment.size - offset));
        offset = 0;
    }
}

uint64_t scatter(memory::GuestMemory& memory, const std::vector<Segment>& segments, uint64_t offset,
                 ByteSpan bytes) {
    uint64_t done = 0;
    for (const Segment& segment : segments) {
        if (offset >= segment.size) {
            offset -= segment.size;
            continue;
        }
        uint64_t part = std::min<uint64_t>(segment.size - offset, bytes.size() - done);
        memory.write(segment.at + offset, bytes.subspan(done, part));
        done += part;
        offset = 0;
    }
    return done;
}

void Queue::reset() {
    state_ = {};
    state_.size = max_size_;
    event_index_ = false;
}

bool Queue::plausible(const QueueState& state) const {
    return state.size != 0 && state.size <= max_size_ && std::has_single_bit(state.size);
}

// The available ring: flags, index, `size` heads, used_event. The used ring: flags, index, `size` pairs,
// avail_event.
PopResult Queue::pop(Chain& chain) {
    if (state_.broken) return PopResult::kBroken;
    if (!state_.enabled) return PopResult::kEmpty;
    uint16_t index = 0, head = 0;
    auto read = [this](uint64_t at, uint16_t& value) {
        return memory_.read(GuestPhys(at), {reinterpret_cast<uint8_t*>(&value), sizeof value});
    };
    if (!read(state_.driver + 2, index)) {
        state_.broken = true;
        return PopResult::kBroken;
    }
    if (index == state_.next_available) return PopResult::kEmpty;
    chain.readable.clear();
    chain.writable.clear();
    uint16_t waiting = static_cast<uint16_t>(index - state_.next_available);
    if (waiting > state_.size || !read(state_.driver + 4 + 2 * (state_.next_available % state_.size), head) ||
        !read_chain(head, chain)) {
        state_.broken = true;
        return PopResult::kBroken;
    }
    ++state_.next_available;
    return PopResult::kChain;
}

bool Queue::read_chain(uint16_t head, Chain& chain) {
    chain.head = head;
    uint32_t index = head;
    for (uint32_t count = 0; count < state_.size; ++count) {
        Descriptor descriptor;
        if (index >= state_.size || !read_descriptor(memory_, state_.descriptors, index, descriptor))
            return false;
        if (descriptor.flags & kIndirect)
            return !(descriptor.flags & kNext) && read_indirect(descriptor.address, descriptor.size, chain);
        if (!add_segment(memory_, descriptor, chain)) return false;
        if (!(descriptor.flags & kNext)) return true;
        index = descriptor.next;
    }
    return false;  // longer than the queue: a loop
}

bool Queue::read_indirect(uint64_t table, uint32_t bytes, Chain& chain) {
    uint32_t entries = bytes / 16, index = 0;
    if (bytes % 16 || entries == 0 || entries > kMaxIndirect) return false;
    for (uint32_t count = 0; count < entries; ++count) {
        Descriptor descriptor;
        if (index >= entries || !read_descriptor(memory_, table, index, descriptor)) return false;
        if (descriptor.flags & kIndirect || !add_segment(memory_, descriptor, chain)) return false;
        if (!(descriptor.flags & kNext)) return true;
        index = descriptor.next;
    }
    return false;
}

void Queue::push(uint16_t head, uint32_t written) {
    if (!state_.enabled || state_.broken) return;
    uint64_t slot = state_.device + 4 + 8 * (state_.next_used % state_.size);
    memory_.write_number<uint64_t>(GuestPhys(slot), uint64_t{written} << 32 | head);
    ++state_.next_used;
    memory_.write_number<uint16_t>(GuestPhys(state_.device + 2), state_.next_used);
}

void Queue::want_notification(bool wanted) {
    if (!state_.enabled || state_.broken) return;
    if (!event_index_)
        memory_.write_number<uint16_t>(GuestPhys(state_.device), wanted ? 0 : kNoNotify);
    else if (wanted)
        memory_.write_number<uint16_t>(GuestPhys(state_.device + 4 + 8 * state_.size), state_.next_available);
}

bool Queue::take_interrupt() {
    if (!state_.enabled || state_.broken || state_.next_used == state_.checked_used) return false;
    uint16_t news = static_cast<uint16_t>(state_.next_used - state_.checked_used);
    state_.checked_used = state_.next_used;
    if (!event_index_) return !(memory_.read_number<uint16_t>(GuestPhys(state_.driver)) & kNoInterrupt);
    // used_event: interrupt when the element of this number is pushed; is it among the new ones?
    uint16_t event = memory_.read_number<uint16_t>(GuestPhys(state_.driver + 4 + 2 * state_.size));
    return static_cast<uint16_t>(state_.next_used - event - 1) < news;
}

}  // namespace lockstep::devices::virtio
