// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/rng/rng.h"

#include <algorithm>

#include "record/payloads.h"

namespace lockstep::devices::virtio {

bus::Output Rng::output_of(const bus::RandomRequest& request) const { return {number_, request}; }

void Rng::notified(unsigned number) {
    Queue& queue = transport().queue(number);
    Chain chain;
    PopResult result;
    while ((result = queue.pop(chain)) == PopResult::kChain) {
        uint64_t size = std::min<uint64_t>(total_size(chain.writable), kRequestBytes);
        if (size == 0) return transport().fail();
        bus::RandomRequest request{numbers_.next(), static_cast<uint32_t>(size)};
        sink_.output(output_of(request));
        state_.in_flight.push_back({request, std::move(chain)});
    }
    if (result == PopResult::kBroken) return transport().fail();
    queue.want_notification(true);
}

void Rng::input(const record::Entry& entry) {
    Result<record::RandomBytes> decoded = record::decode<record::RandomBytes>(entry);
    if (!decoded) return;
    auto found = std::find_if(
        state_.in_flight.begin(), state_.in_flight.end(),
        [&](const RngInFlight& candidate) { return candidate.request.number == decoded.value().request; });
    if (found == state_.in_flight.end()) return;
    RngInFlight ended = std::move(*found);
    state_.in_flight.erase(found);
    if (!transport().running()) return;
    ByteSpan bytes = decoded.value().bytes;
    bytes = bytes.first(std::min<size_t>(bytes.size(), ended.request.size));
    uint64_t written = scatter(transport().memory(), ended.chain.writable, 0, bytes);
    transport().queue(0).push(ended.chain.head, static_cast<uint32_t>(written));
    transport().used(0);
}

std::vector<UnansweredRequest> Rng::unanswered() const {
    std::vector<UnansweredRequest> requests;
    for (const RngInFlight& waiting : state_.in_flight)
        requests.push_back({waiting.request.number, output_of(waiting.request)});
    return requests;
}

void Rng::save(ByteWriter& out) const { record::write_fields(out, state_); }

Result<void> Rng::load(ByteReader& in) {
    RngState state;
    TRY(record::read_fields(in, state, name()));
    for (const RngInFlight& waiting : state.in_flight)
        for (const Segment& segment : waiting.chain.writable)
            if (!transport().memory().is_ram(segment.at, segment.size))
                return error("the saved state of {} is damaged", name());
    state_ = std::move(state);
    return {};
}

}  // namespace lockstep::devices::virtio
