// SPDX-License-Identifier: Apache-2.0
#include "toy_machine.h"

#include "base/check.h"
#include "base/hash.h"
#include "devices/virtio/net/header.h"
#include "host/disk_image.h"
#include "host/files.h"
#include "record/packets.h"
#include "record/payloads.h"

namespace lockstep::vmm::testing {

using bus::DiskOperation;
using devices::virtio::kNetHeaderSize;
using machine::Stop;
using record::EntryKind;

namespace {

constexpr uint64_t kSector = 512;
constexpr uint64_t kSectors = 64;
constexpr uint64_t kTickNs = 10'000'000;
constexpr uint64_t kLinesUntilQuiet = 500;

constexpr uint64_t kSmallestRam = 2 << 20;

uint64_t mix(uint64_t x) {
    x ^= x << 13;
    x ^= x >> 7;
    return x ^ (x << 17);
}

}  // namespace

ToyMachine::ToyMachine(const ToyConfig& config, unsigned block, bus::OutputSink& sink)
    : config_(config), block_(block), sink_(sink) {
    Result<std::unique_ptr<memory::GuestMemory>> ram = memory::GuestMemory::create(kSmallestRam);
    CHECK(ram.ok() && config.ram_bytes <= kSmallestRam, "a toy of {} bytes", config.ram_bytes);
    ram_ = ram.take();
    reset();
}

void ToyMachine::reset() {
    Registers fresh;
    fresh.icount = state_.icount;
    fresh.requests = state_.requests;
    fresh.value = config_.seed | 1;
    // A reset forgets what it printed and wrote no more than a real guest's disk does.
    fresh.lines = state_.lines;
    fresh.writes = state_.writes;
    state_ = fresh;
    ram_->clear();
    state_.timer_ns = guest_time_ns() + kTickNs;
}

Stop ToyMachine::run(Icount until) {
    unsigned in_block = 0;
    for (;;) {
        if (state_.off) return Stop::kPowerOff;
        if (state_.reset_wanted) return Stop::kReset;
        if (state_.icount >= until) return Stop::kReached;
        if (in_block++ % block_ == 0 && stop_requested_.exchange(false)) return Stop::kRequested;
        take_interrupt();
        if (state_.halted) return Stop::kHalted;
        step();
    }
}

void ToyMachine::take_interrupt() {
    if (guest_time_ns() >= state_.timer_ns) {
        state_.timer_ns = guest_time_ns() + kTickNs;
        state_.halted = false;
        state_.value = mix(state_.value + 1);
        print_line();
        write_disk();
    }
    while (!state_.waiting.empty()) {
        state_.halted = false;
        fold(state_.waiting.front());
        state_.waiting.pop_front();
    }
}

void ToyMachine::fold(ByteSpan bytes) {
    state_.value = mix(state_.value ^ hash64(bytes, state_.icount.value())) | 1;
    ram_->write_number(GuestPhys(state_.value % (config_.ram_bytes / 8) * 8), state_.value);
}

void ToyMachine::step() {
    state_.value = mix(state_.value);
    uint64_t choice = state_.value >> 20 & 0xfffff;
    if (choice < 64) {
        act(choice);
    } else if (choice < 4096) {
        GuestPhys at(state_.value % config_.ram_bytes);
        auto byte = static_cast<uint8_t>(*ram_->host(at) + state_.value);
        ram_->write_number(at, byte);
        state_.value += byte;
    }
    ++state_.icount;
}

/// Rare things, each about once in 16,000 instructions. Outputs leave in the midst of an instruction.
void ToyMachine::act(uint64_t choice) {
    if (choice < 16) {
        state_.value ^= guest_time_ns();
    } else if (choice < 20 && config_.network && !(config_.quiet && state_.lines > kLinesUntilQuiet)) {
        // From 10:10:10:10:10:10, or in VLAN 7 from 12:12:12:12:12:12, or from nobody; to everybody.
        Bytes packet(kNetHeaderSize + 60, static_cast<uint8_t>(choice));
        std::fill_n(packet.begin(), kNetHeaderSize, uint8_t{0});
        std::fill_n(packet.begin() + kNetHeaderSize, 6, uint8_t{0xff});
        const Bytes tag = {0x81, 0, 0, 7};
        if (choice == 18) std::copy(tag.begin(), tag.end(), packet.begin() + kNetHeaderSize + 12);
        std::memcpy(packet.data() + kNetHeaderSize + 18, &state_.value, 8);
        bus::Packets packets;
        packets.add(packet);
        sink_.output({machine::kFirstNetwork, std::move(packets)});
    } else if (choice < 22) {
        state_.random.push_back({++state_.requests, 16});
        sink_.output({machine::kRandomDevice, state_.random.back()});
    } else if (choice < 26 && config_.disk_bytes) {
        read_disk(state_.value % kSectors);
    } else if (choice >= 32 && config_.halts) {
        state_.halted = true;
    }
}

void ToyMachine::print_line() { print(fmt::format("{}\n", state_.lines++)); }

void ToyMachine::print(const std::string& line) {
    sink_.output({machine::kSerialDevice, bus::ConsoleBytes{Bytes(line.begin(), line.end())}});
}

void ToyMachine::write_disk() {
    if (!config_.disk_bytes || state_.write_pending) return;
    bus::DiskRequest request;
    request.number = state_.write_pending = ++state_.requests;
    request.operation = DiskOperation::kWrite;
    uint64_t k = ++state_.writes;
    request.offset = k % kSectors * kSector;
    request.size = kSector;
    request.data.assign(kSector, static_cast<uint8_t>(k));
    std::memcpy(request.data.data(), &k, sizeof k);
    ask_disk(std::move(request));
}

void ToyMachine::read_disk(uint64_t sector) {
    bus::DiskRequest request;
    request.number = ++state_.requests;
    request.operation = DiskOperation::kRead;
    request.offset = sector * kSector;
    request.size = kSector;
    ask_disk(std::move(request));
}

void ToyMachine::ask_disk(bus::DiskRequest request) {
    state_.disk.push_back(request);
    sink_.output({machine::kFirstDisk, std::move(request)});
}

void ToyMachine::answered(uint64_t number) {
    std::erase_if(state_.disk, [number](const auto& request) { return request.number == number; });
    std::erase_if(state_.random, [number](const auto& request) { return request.number == number; });
    if (state_.write_pending == number) state_.write_pending = 0;
}

std::vector<bus::Output> ToyMachine::unanswered() const {
    std::vector<bus::Output> outputs;
    for (const bus::DiskRequest& request : state_.disk) outputs.push_back({machine::kFirstDisk, request});
    for (const bus::RandomRequest& request : state_.random)
        outputs.push_back({machine::kRandomDevice, request});
    return outputs;
}

void ToyMachine::deliver(const record::Entry& entry) {
    CHECK(entry.icount == state_.icount);
    switch (entry.kind) {
        case EntryKind::kTimeRate:
            clock_.set_rate(state_.icount, record::decode<record::TimeRate>(entry).value().rate);
            return;
        case EntryKind::kTimeAdvance:
            clock_.advance(state_.icount, record::decode<record::TimeAdvance>(entry).value().ticks);
            return;
        case EntryKind::kPowerControl: {
            auto action = record::decode<record::PowerControl>(entry).value().action;
            if (action == record::PowerAction::kReset)
                state_.reset_wanted = true;
            else
                state_.off = true;
            return;
        }
        case EntryKind::kCut:
            return;  // it has no TLB
        case EntryKind::kDiskCompletion:
            answered(record::decode<record::DiskCompletion>(entry).value().request);
            break;
        case EntryKind::kRandomBytes:
            answered(record::decode<record::RandomBytes>(entry).value().request);
            break;
        case EntryKind::kConsoleInput:
            typed(entry);
            break;
        case EntryKind::kNetworkReceive:
            received(entry);
            break;
        default:
            break;
    }
    state_.waiting.push_back(entry.payload);
}

void ToyMachine::typed(const record::Entry& entry) {
    Bytes bytes = record::decode<record::ConsoleInput>(entry).value().bytes;
    print("echo " + std::string(bytes.begin(), bytes.end()) + "\n");
    for (uint8_t byte : bytes) {
        if (byte == 'q') state_.off = true;
        if (byte == 'r') state_.reset_wanted = true;
    }
}

void ToyMachine::received(const record::Entry& entry) {
    constexpr size_t kType = kNetHeaderSize + 12, kNumber = kType + 2, kEnd = kNumber + 4;
    Result<std::vector<ByteSpan>> packets = record::packet_views(entry.payload);
    std::string lines;
    for (ByteSpan packet : packets.value()) {
        if (packet.size() < kEnd || packet[kType] != 0x88 || packet[kType + 1] != 0xb5) continue;
        uint32_t number;
        std::memcpy(&number, packet.data() + kNumber, sizeof number);
        lines += fmt::format("packet {}\n", number);
    }
    if (!lines.empty()) print(lines);  // a delivery makes one output at most, as a real machine's
}

void ToyMachine::save_state(ByteWriter& out) {
    record::write_fields(out, state_);
    clock_.save(out);
}

Result<void> ToyMachine::load_state(ByteReader& in) {
    TRY(record::read_fields(in, state_, "the toy's state"));
    clock_.load(in);
    if (!in.ok()) return error("the toy's state is cut short");
    return {};
}

machine::StateHash ToyMachine::hash() { return hash_part(0, config_.ram_bytes); }

machine::StateHash ToyMachine::hash_part(uint64_t start, uint64_t size) {
    Bytes devices;
    ByteWriter out(devices);
    clock_.save(out);
    return {.registers = hash64(record::encode_fields(state_)),
            .memory = hash64({ram_->host(GuestPhys(start)), size}),
            .devices = hash64(devices)};
}

std::string ToyMachine::describe() const {
    return fmt::format("icount {} value {:x} lines {} writes {}", state_.icount.value(), state_.value,
                       state_.lines, state_.writes);
}

Result<Bytes> ToyFactory::configure(const VmSettings& settings) {
    ToyConfig config;
    config.seed = hash64({reinterpret_cast<const uint8_t*>(settings.name.data()), settings.name.size()});
    if (!settings.disks.empty()) config.disk_bytes = TRY(host::DiskImage::size_of(settings.disks[0].path));
    if (!settings.initrd.empty()) config.ballast = TRY(host::read_file(settings.initrd));
    config.network = !settings.networks.empty();
    config.quiet = settings.command_line.find("quiet") != std::string::npos;
    config.halts = settings.command_line.find("busy") == std::string::npos;
    return record::encode_fields(config);
}

Result<std::unique_ptr<machine::Machine>> ToyFactory::create(const SharedBytes& configuration,
                                                             const translate::EngineOptions& options,
                                                             bus::OutputSink& sink, uint64_t& ram_bytes) {
    ToyConfig config = TRY(record::decode_fields<ToyConfig>(configuration, "a toy's configuration"));
    ram_bytes = config.ram_bytes;
    return std::unique_ptr<machine::Machine>(std::make_unique<ToyMachine>(config, options.block_limit, sink));
}

}  // namespace lockstep::vmm::testing
