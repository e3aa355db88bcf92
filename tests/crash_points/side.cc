// SPDX-License-Identifier: Apache-2.0
#include "side.h"

#include <fmt/format.h>

#include "record/packets.h"
#include "world.h"

namespace lockstep::crash_points {

namespace {
constexpr Micros kArbiterAnswers = 200, kRandomAnswers = 20;
constexpr size_t kTypedBytes = 8;
}  // namespace

Side::Side(World& world, Owner id, Place place, pair::Config config)
    : world_(world),
      id_(id),
      place_(std::move(place)),
      guest_(world.timeline(), *this),
      session_(
          {.clock = *this, .guest = guest_, .link = *this, .outside = *this, .arbiter = *this, .host = *this},
          std::move(config), &hooks_) {}

void Side::own() {
    session_.own(Term(1), 0);
    tick();
}

void Side::back_up() {
    session_.back_up();
    tick();
}

void Side::tick() {
    session_.on_time();
    world_.timeline().after(session_.period_ms() * kMillisecond, id_, [this] { tick(); });
}

void Side::die() {
    hooks_.dead = true;
    guest_.freeze();
    world_.timeline().end(id_);
}

void Side::fail(const std::string& sentence) { world_.fail(fmt::format("{}: {}", name(), sentence)); }

// --- What happens to it ---

/// In pieces that the port's FIFO has room for.
void Side::type(const std::string& text) {
    for (size_t at = 0; at < text.size(); at += kTypedBytes) {
        std::string piece = text.substr(at, kTypedBytes);
        guest_.add_input(drive::make_input(machine::kSerialDevice,
                                           record::ConsoleInput{Bytes(piece.begin(), piece.end())}));
    }
}

void Side::packet(ByteSpan packet) {
    if (!lets_inputs_in()) return;
    guest_.add_input({record::EntryKind::kNetworkReceive, machine::kFirstNetwork,
                      record::encode_packets(std::span(&packet, 1))});
}

void Side::let_in(uint16_t device, Bytes packets) {
    if (lets_inputs_in()) guest_.add_input({record::EntryKind::kNetworkReceive, device, std::move(packets)});
}

void Side::link_closed() {
    if (!link_open_) return;
    link_open_ = false;
    session_.on_link_closed(replica::ChannelEnd::kPeerClosed, "the other side's process has ended");
}

void Side::entry_comes(LogPos position) { world_.entry_comes(*this, position); }
void Side::entry_told(LogPos position) { world_.entry_told(*this, position); }

// --- Outputs ---

void Side::submit(const bus::Output& output, LogPos entry) {
    if (dead()) return;
    if (bus::changes_outside(output)) world_.leaves(*this, output, entry);
    std::visit([&](const auto& what) { let_out(output.device, what, entry); }, output.what);
}

void Side::let_out(uint16_t, const bus::Packets& packets, LogPos) {
    for (ByteSpan packet : packets.views()) world_.send_packet(*this, packet);
}

void Side::let_out(uint16_t, const bus::ConsoleBytes& printed, LogPos) { world_.print(*this, printed.bytes); }

void Side::let_out(uint16_t device, const bus::RandomRequest& request, LogPos) {
    record::RandomBytes answer{request.number, Bytes(request.size)};
    for (uint8_t& byte : answer.bytes)
        byte = static_cast<uint8_t>((random_ = random_ * 6364136223846793005 + id_) >> 56);
    world_.timeline().after(kRandomAnswers, id_,
                            [this, device, answer] { guest_.add_input(drive::make_input(device, answer)); });
}

void Side::let_out(uint16_t device, const bus::DiskRequest& request, LogPos entry) {
    using bus::DiskOperation;
    Queue& queue = queues_[device];
    uint64_t id = next_request_++;
    auto access = request.operation == DiskOperation::kWrite  ? disk::Access::kWrite
                  : request.operation == DiskOperation::kRead ? disk::Access::kRead
                                                              : disk::Access::kBarrier;
    queue.order.add(id, access, request.offset, request.size);
    queue.requests.emplace(id, Request{request, entry});
    issue(device);
}

void Side::issue(uint16_t device) {
    Queue& queue = queues_[device];
    auto may_write = [&](uint64_t id) { return session_.may_write(queue.requests.at(id).entry); };
    while (std::optional<uint64_t> id = queue.order.next(may_write))
        world_.disk_gets(*this, *place_.disks.at(device - machine::kFirstDisk), device, *id,
                         queue.requests.at(*id).request);
}

void Side::issue_kept() {
    if (dead()) return;
    for (auto& [device, queue] : queues_)
        if (queue.order.has_ready()) issue(device);
}

void Side::disk_done(uint16_t device, uint64_t id, Bytes data) {
    Queue& queue = queues_[device];
    queue.order.finish(id);
    uint64_t number = queue.requests.extract(id).mapped().request.number;
    ++completions_;
    guest_.add_input(
        drive::make_input(device, record::DiskCompletion{number, record::DiskStatus::kOk, std::move(data)}));
    issue(device);
}

size_t Side::in_flight() const {
    size_t requests = 0;
    for (const auto& [device, queue] : queues_) requests += queue.requests.size();
    return requests;
}

// --- Ports ---

uint64_t Side::now_ns() const { return world_.timeline().now_ns(); }

void Side::wake(uint64_t at_ns) {
    world_.timeline().at_ns(at_ns, id_, [this] { session_.on_wake(); });
}

void Side::send(const Pieces& message) {
    Pieces copy = message;
    if (link_open_ && !dead()) world_.send_message(*this, copy.take_joined());
}

void Side::send_datagram(ByteSpan datagram) {
    if (link_open_ && !dead()) world_.send_datagram(*this, Bytes(datagram.begin(), datagram.end()));
}

void Side::close() {
    if (!link_open_) return;
    link_open_ = false;
    world_.close_link(*this);
}

void Side::claim(Term term) {
    world_.timeline().after(kArbiterAnswers, id_,
                            [this, term] { session_.on_claimed(term, replica::ArbiterAnswer::kWon, ""); });
}

void Side::ask_for_backup() { world_.ask_for_backup(*this); }

void Side::ended(const pair::Ending& ending) { fail("it ends: " + ending.sentence); }

void Side::say(LogLevel level, const std::string& sentence) {
    if (level >= LogLevel::kWarning) world_.say(name() + ": " + sentence);
    if (sentence.find("differs from its log") != std::string::npos) fail(sentence);
}

}  // namespace lockstep::crash_points
