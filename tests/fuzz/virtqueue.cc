// SPDX-License-Identifier: Apache-2.0
// A virtqueue in the memory of a hostile guest: the input is where the rings lie, then the first pages of memory.
#include "devices/virtio/queue/queue.h"
#include "target.h"

namespace lockstep::devices::virtio {
namespace {

constexpr uint64_t kRam = 2 << 20, kRings = 0x1000;
constexpr uint16_t kMostEntries = 256;

/// Segments lie in RAM, whatever the descriptors say.
void check_segments(const memory::GuestMemory& memory, const std::vector<Segment>& segments) {
    for (const Segment& segment : segments)
        CHECK(memory.is_ram(segment.at, segment.size), "a segment of {} bytes at {:#x} isn't RAM",
              segment.size, segment.at.value());
}

void use_queue(memory::GuestMemory& memory, Queue& queue) {
    constexpr uint64_t kMostBytes = 4096;
    Chain chain;
    Bytes bytes;
    for (int i = 0; i < 64; ++i) {
        PopResult result = queue.pop(chain);
        if (result != PopResult::kChain) {
            queue.want_notification(i % 2 == 0);
            break;
        }
        check_segments(memory, chain.readable);
        check_segments(memory, chain.writable);
        bytes = gather(memory, chain.readable, 3, kMostBytes);
        uint64_t written = scatter(memory, chain.writable, 5, bytes);
        queue.push(chain.head, static_cast<uint32_t>(written));
        (void)queue.take_interrupt();
    }
}

}  // namespace
}  // namespace lockstep::devices::virtio

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace lockstep;
    using namespace lockstep::devices::virtio;
    static std::unique_ptr<memory::GuestMemory> memory = memory::GuestMemory::create(kRam).take();
    constexpr size_t kMostInput = 0x8000;

    ByteReader in(ByteSpan(data, size));
    Queue queue(*memory, kMostEntries);
    QueueState& state = queue.state();
    state.size = in.fixed<uint16_t>();
    state.enabled = true;
    // Addresses near the input, mostly; sometimes anywhere.
    auto address = [&in] {
        return kRings + uint64_t{in.fixed<uint16_t>()} * (1 + in.fixed<uint8_t>() / 250 * 0x10001000ull);
    };
    state.descriptors = address();
    state.driver = address();
    state.device = address();
    state.next_available = in.fixed<uint16_t>();
    state.next_used = in.fixed<uint16_t>();
    queue.use_event_index(in.fixed<uint8_t>() & 1);
    if (!in.ok() || !queue.plausible(state)) return 0;

    Bytes ring(kMostInput);
    ByteSpan rest = in.raw(std::min(in.remaining(), kMostInput));
    std::copy(rest.begin(), rest.end(), ring.begin());
    memory->write(GuestPhys(kRings), ring);
    use_queue(*memory, queue);
    return 0;
}
