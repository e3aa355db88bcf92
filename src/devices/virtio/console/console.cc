// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/console/console.h"

#include <algorithm>

#include "record/payloads.h"

namespace lockstep::devices::virtio {

namespace {
constexpr unsigned kReceive = 0, kTransmit = 1;
constexpr uint64_t kOutputBytes = 64 << 10;  // what one request may print; a terminal needs far less
}  // namespace

void Console::notified(unsigned queue) {
    if (queue == kTransmit)
        send();
    else
        fill();
}

void Console::input(const record::Entry& entry) {
    Result<record::ConsoleInput> input = record::decode<record::ConsoleInput>(entry);
    if (!input) return;
    for (uint8_t byte : input.value().bytes)
        if (state_.waiting.size() < kWaitingLimit) state_.waiting.push_back(byte);
    if (transport().running()) fill();
}

void Console::fill() {
    Queue& queue = transport().queue(kReceive);
    Chain chain;
    while (!state_.waiting.empty()) {
        PopResult result = queue.pop(chain);
        if (result == PopResult::kBroken) return transport().fail();
        if (result == PopResult::kEmpty) break;
        uint64_t size = std::min<uint64_t>(state_.waiting.size(), total_size(chain.writable));
        Bytes bytes(state_.waiting.begin(), state_.waiting.begin() + static_cast<int64_t>(size));
        state_.waiting.erase(state_.waiting.begin(), state_.waiting.begin() + static_cast<int64_t>(size));
        scatter(transport().memory(), chain.writable, 0, bytes);
        queue.push(chain.head, static_cast<uint32_t>(size));
    }
    queue.want_notification(!state_.waiting.empty());
    transport().used(kReceive);
}

void Console::send() {
    Queue& queue = transport().queue(kTransmit);
    Chain chain;
    Bytes bytes;
    PopResult result;
    while ((result = queue.pop(chain)) == PopResult::kChain) {
        Bytes part = gather(transport().memory(), chain.readable, 0, kOutputBytes);
        bytes.insert(bytes.end(), part.begin(), part.end());
        queue.push(chain.head, 0);
    }
    if (!bytes.empty()) sink_.output({number_, bus::ConsoleBytes{std::move(bytes)}});
    if (result == PopResult::kBroken) return transport().fail();
    queue.want_notification(true);
    transport().used(kTransmit);
}

void Console::save(ByteWriter& out) const { record::write_fields(out, state_); }

Result<void> Console::load(ByteReader& in) {
    ConsoleState state;
    TRY(record::read_fields(in, state, name()));
    state_ = std::move(state);
    return {};
}

}  // namespace lockstep::devices::virtio
