// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/block/block.h"

#include <algorithm>

#include "base/hash.h"
#include "record/payloads.h"

namespace lockstep::devices::virtio {

using bus::DiskOperation;
using bus::DiskRequest;

namespace {

constexpr uint64_t kFeatureSizeMax = 1 << 1, kFeatureSegMax = 1 << 2, kFeatureReadOnly = 1 << 5,
                   kFeatureBlockSize = 1 << 6, kFeatureFlush = 1 << 9;

enum RequestType : uint32_t { kIn = 0, kOut = 1, kFlush = 4, kGetId = 8 };
constexpr uint8_t kOk = 0, kIoError = 1, kUnsupported = 2;
constexpr uint64_t kHeaderSize = 16, kIdSize = 20;

/// The running hash, once `write` follows what `before` stands for.
uint64_t hash_with(uint64_t before, const DiskRequest& write) {
    constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;  // places differ in their low bits alone
    return hash64(write.data, before + write.offset * kOdd);
}

}  // namespace

Block::Block(uint16_t number, std::string name, BlockConfig config, RequestNumbers& numbers,
             bus::OutputSink& sink)
    : number_(number), name_(std::move(name)), config_(std::move(config)), numbers_(numbers), sink_(sink) {}

uint64_t Block::features() const {
    return kFeatureSizeMax | kFeatureSegMax | kFeatureBlockSize | kFeatureFlush |
           (config_.read_only ? kFeatureReadOnly : 0);
}

Bytes Block::config() const {
    Bytes bytes;
    ByteWriter out(bytes);
    out.fixed(config_.size_bytes / kSector);
    out.fixed(kSegmentBytes);
    out.fixed(kSegments);
    out.fixed(uint32_t{0});  // geometry
    out.fixed(static_cast<uint32_t>(kSector));
    return bytes;
}

void Block::notified(unsigned number) {
    Queue& queue = transport().queue(number);
    Chain chain;
    PopResult result;
    while ((result = queue.pop(chain)) == PopResult::kChain && transport().running()) take(chain);
    if (result == PopResult::kBroken) return transport().fail();
    queue.want_notification(true);
    transport().used(number);
}

// A request is a header to read, data, and a byte to write the status into.
void Block::take(Chain& chain) {
    Bytes header = gather(transport().memory(), chain.readable, 0, kHeaderSize);
    if (header.size() < kHeaderSize || total_size(chain.writable) < 1) return transport().fail();
    ByteReader in(header);
    uint32_t type = in.fixed<uint32_t>();
    in.fixed<uint32_t>();
    uint64_t sector = in.fixed<uint64_t>();
    switch (type) {
        case kIn:
            return issue(DiskOperation::kRead, sector, chain);
        case kOut:
            return issue(DiskOperation::kWrite, sector, chain);
        case kFlush:
            return issue(DiskOperation::kFlush, 0, chain);
        case kGetId: {
            Bytes id(kIdSize);
            std::copy_n(config_.serial.begin(), std::min<size_t>(config_.serial.size(), kIdSize), id.begin());
            if (total_size(chain.writable) <= kIdSize) return finish(chain, kIoError, 0);
            scatter(transport().memory(), chain.writable, 0, id);
            return finish(chain, kOk, kIdSize);
        }
    }
    finish(chain, kUnsupported, 0);
}

void Block::issue(DiskOperation operation, uint64_t sector, Chain& chain) {
    DiskRequest request;
    request.operation = operation;
    request.offset = sector * kSector;
    if (operation == DiskOperation::kRead) request.size = total_size(chain.writable) - 1;
    if (operation == DiskOperation::kWrite) request.size = total_size(chain.readable) - kHeaderSize;
    uint64_t sectors = config_.size_bytes / kSector;
    bool good = request.size % kSector == 0 && request.size <= kRequestBytes && sector <= sectors &&
                request.size / kSector <= sectors - sector;
    if (operation == DiskOperation::kWrite && config_.read_only) good = false;
    if (operation != DiskOperation::kFlush && request.size == 0) good = false;
    if (!good) return finish(chain, kIoError, 0);
    if (operation == DiskOperation::kWrite) {
        request.data = gather(transport().memory(), chain.readable, kHeaderSize, request.size);
        state_.hash_of_writes = hash_with(state_.hash_of_writes, request);
    }
    request.number = numbers_.next();
    sink_.output(output_of(request));
    state_.in_flight.push_back({std::move(request), std::move(chain)});
}

// The status is the last byte that the driver lets us write.
void Block::finish(const Chain& chain, uint8_t status, uint64_t written) {
    scatter(transport().memory(), chain.writable, total_size(chain.writable) - 1, {&status, 1});
    transport().queue(0).push(chain.head, static_cast<uint32_t>(written + 1));
}

void Block::input(const record::Entry& entry) {
    Result<record::DiskCompletion> decoded = record::decode<record::DiskCompletion>(entry);
    if (!decoded) return;
    const record::DiskCompletion& completion = decoded.value();
    auto found = std::find_if(
        state_.in_flight.begin(), state_.in_flight.end(),
        [&](const BlockInFlight& candidate) { return candidate.request.number == completion.request; });
    if (found == state_.in_flight.end()) return;  // the guest has reset the device since
    BlockInFlight ended = std::move(*found);
    state_.in_flight.erase(found);
    if (!transport().running()) return;

    bool read = ended.request.operation == DiskOperation::kRead;
    uint8_t status = completion.status == record::DiskStatus::kOk            ? kOk
                     : completion.status == record::DiskStatus::kUnsupported ? kUnsupported
                                                                             : kIoError;
    if (read && status == kOk && completion.data.size() != ended.request.size) status = kIoError;
    bool fill = read && status == kOk;
    if (fill) scatter(transport().memory(), ended.chain.writable, 0, completion.data);
    finish(ended.chain, status, fill ? completion.data.size() : 0);
    transport().used(0);
}

bus::Output Block::output_of(const DiskRequest& request) const { return {number_, request}; }

std::vector<UnansweredRequest> Block::unanswered() const {
    std::vector<UnansweredRequest> requests;
    for (const BlockInFlight& waiting : state_.in_flight)
        requests.push_back({waiting.request.number, output_of(waiting.request)});
    return requests;
}

void Block::save(ByteWriter& out) const { record::write_fields(out, state_); }

Result<void> Block::load(ByteReader& in) {
    BlockState state;
    TRY(record::read_fields(in, state, name_));
    for (BlockInFlight& waiting : state.in_flight) {
        bool sound = bus::is_sound(waiting.request);
        for (const Segment& segment : waiting.chain.writable)
            sound = sound && transport().memory().is_ram(segment.at, segment.size) &&
                    total_size(waiting.chain.writable) >= 1;
        if (!sound) return error("the saved state of {} is damaged", name_);
    }
    state_ = std::move(state);
    return {};
}

}  // namespace lockstep::devices::virtio
