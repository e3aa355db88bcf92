// SPDX-License-Identifier: Apache-2.0
#include "vmm/backends.h"

#include <algorithm>

#include "base/log.h"
#include "host/network_device.h"
#include "host/random.h"
#include "machine/machine.h"
#include "record/packets.h"

namespace lockstep::vmm {

using bus::DiskOperation;

namespace {

constexpr uint64_t kComplaintPauseNs = 10 * host::kNsPerSecond;

record::DiskStatus guest_status(host::DiskStatus status) {
    return status == host::DiskStatus::kOk ? record::DiskStatus::kOk : record::DiskStatus::kIoError;
}

host::DiskAction action_of(DiskOperation operation) {
    switch (operation) {
        case DiskOperation::kRead:
            return host::DiskAction::kRead;
        case DiskOperation::kWrite:
            return host::DiskAction::kWrite;
        case DiskOperation::kFlush:
            return host::DiskAction::kFlush;
    }
    return host::DiskAction::kFlush;
}

std::string_view verb_of(host::DiskAction action) {
    switch (action) {
        case host::DiskAction::kRead:
            return "reading";
        case host::DiskAction::kWrite:
            return "writing";
        case host::DiskAction::kFlush:
            return "flushing";
    }
    return "using";
}

}  // namespace

host::DiskOptions image_options(const DiskSettings& disk) {
    // Readers don't disturb each other, so an image that nobody writes is always open to others.
    bool shared = disk.shared || disk.read_only;
    return {.path = disk.path,
            .sharing = shared ? host::DiskSharing::kShared : host::DiskSharing::kExclusive,
            .mode = disk.read_only ? host::DiskMode::kReadOnly : host::DiskMode::kReadWrite};
}

Backends::Backends(host::EventLoop& loop, const VmSettings& settings, host::OrphanFrames& orphans,
                   Hooks hooks)
    : loop_(loop), settings_(settings), orphans_(orphans), hooks_(std::move(hooks)) {}

Result<std::unique_ptr<Backends>> Backends::create(host::EventLoop& loop, const VmSettings& settings,
                                                   const Places& places, host::OrphanFrames& orphans,
                                                   Hooks hooks) {
    std::unique_ptr<Backends> backends(new Backends(loop, settings, orphans, std::move(hooks)));
    TRY(backends->open_disks(places));
    TRY(backends->open_networks());
    TRY(backends->open_console(places));
    return backends;
}

Result<void> Backends::open_disks(const Places& places) {
    for (const DiskSettings& disk : settings_.disks) {
        host::DiskOptions options = image_options(disk);
        options.allowed = places.disks;
        disks_.push_back(TRY(host::DiskImage::create(loop_, options)));
    }
    for (auto& disk : disks_) disk->set_write_gate(hooks_.may_write);
    complained_ns_.resize(disks_.size());
    return {};
}

Result<void> Backends::open_networks() {
    for (size_t i = 0; i < settings_.networks.size(); ++i) {
        const NetworkSettings& network = settings_.networks[i];
        auto tap = TRY(host::TapDevice::create(loop_, {network.tap, network.bridge}, &orphans_.ring(i)));
        uint16_t device = static_cast<uint16_t>(machine::kFirstNetwork + i);
        tap->set_receiver([this, device, raw = tap.get()](std::span<const ByteSpan> packets) {
            if (!live_) return raw->ring().forget();
            give_packets(*raw, device, record::encode_packets(packets));
        });
        orphans_.set_device(i, tap->descriptor(), network.mac);
        networks_.push_back(std::move(tap));
    }
    sources_.resize(networks_.size());
    link_faults_.resize(networks_.size());
    return {};
}

Result<void> Backends::open_console(const Places& places) {
    ConsoleKind kind = settings_.console.kind;
    if (kind == ConsoleKind::kTerminal && !places.terminal) kind = ConsoleKind::kSocket;
    switch (kind) {
        case ConsoleKind::kNone:
            return {};
        case ConsoleKind::kPty:
            console_ = TRY(host::create_pty_console(loop_, places.console));
            break;
        case ConsoleKind::kTerminal:
            console_ = TRY(host::create_terminal_console(loop_, hooks_.escape));
            break;
        case ConsoleKind::kSocket:
            console_ = TRY(host::create_socket_console(loop_, places.console));
            break;
    }
    bool serial = settings_.console.port == ConsolePort::kSerial;
    uint16_t device = serial ? machine::kSerialDevice : machine::kConsoleDevice;
    console_->set_receiver([this, device](Bytes typed) {
        if (live_) hooks_.input(drive::make_input(device, record::ConsoleInput{std::move(typed)}));
    });
    return {};
}

void Backends::go_live() {
    live_ = true;
    for (size_t i = 0; i < networks_.size(); ++i)
        networks_[i]->announce(sources_[i].announcements(settings_.networks[i].mac, loop_.now_ns()));
}

void Backends::submit(const bus::Output& output, LogPos entry) {
    if (stopped_) return;
    std::visit([&](const auto& what) { let_out(output.device, what, entry); }, output.what);
}

void Backends::show(const bus::Output& output) {
    if (const auto* packets = output.as<bus::Packets>()) learn_sources(output.device, packets->views());
    if (const auto* printed = output.as<bus::ConsoleBytes>()) let_out(output.device, *printed, {});
}

void Backends::let_out(uint16_t device, const bus::ConsoleBytes& printed, LogPos) {
    bool serial = settings_.console.port == ConsolePort::kSerial;
    uint16_t shown = serial ? machine::kSerialDevice : machine::kConsoleDevice;
    if (console_ && device == shown) console_->write(printed.bytes);
}

host::TapDevice* Backends::network_of(uint16_t device) {
    size_t index = static_cast<size_t>(device - machine::kFirstNetwork);
    bool known = device >= machine::kFirstNetwork && index < networks_.size();
    return known ? networks_[index].get() : nullptr;
}

/// The rings count one input for each NetworkReceive.
void Backends::give_packets(host::TapDevice& network, uint16_t device, Bytes packets) {
    network.ring().end_input();
    hooks_.input({record::EntryKind::kNetworkReceive, device, std::move(packets)});
}

void Backends::packets_entered(uint16_t device, LogPos entry) {
    if (host::TapDevice* network = network_of(device)) network->ring().entered(entry);
}

void Backends::let_in(uint16_t device, Bytes packets) {
    host::TapDevice* network = network_of(device);
    Result<std::vector<ByteSpan>> views = record::packet_views(packets);
    bool good = network && live_ && views.ok() && std::ranges::all_of(views.value(), [](ByteSpan packet) {
                    return packet.size() > host::TapDevice::kHeader &&
                           packet.size() <= host::TapDevice::kLargestPacket;
                });
    if (good) give_packets(*network, device, std::move(packets));
}

void Backends::learn_sources(uint16_t device, std::span<const ByteSpan> packets) {
    if (!network_of(device)) return;
    host::SourceAddresses& sources = sources_[static_cast<size_t>(device - machine::kFirstNetwork)];
    for (ByteSpan packet : packets)
        if (packet.size() > host::TapDevice::kHeader)
            sources.sent(packet.subspan(host::TapDevice::kHeader), loop_.now_ns());
}

void Backends::look_at_links() {
    for (size_t i = 0; i < networks_.size(); ++i) {
        const NetworkSettings& network = settings_.networks[i];
        std::string fault = host::guest_link_fault(network.tap, network.bridge);
        if (fault == link_faults_[i]) continue;
        if (fault.empty())
            log_info("VM {}: the network of {} is well again", settings_.name, network.tap);
        else
            log_warning("VM {}: the guest can't be reached by {} here: {}", settings_.name, network.tap,
                        fault);
        link_faults_[i] = fault;
    }
}

size_t Backends::links_lost() const {
    return static_cast<size_t>(
        std::ranges::count_if(link_faults_, [](const std::string& fault) { return !fault.empty(); }));
}

void Backends::let_out(uint16_t device, const bus::Packets& packets, LogPos) {
    host::TapDevice* network = network_of(device);
    if (!network) return;
    std::vector<ByteSpan> views = packets.views();
    learn_sources(device, views);
    network->send(views);
}

void Backends::let_out(uint16_t device, const bus::NetworkOffloads& offloads, LogPos) {
    if (host::TapDevice* network = network_of(device))
        network->set_offloads({.checksum = offloads.checksum,
                               .tcp4 = offloads.tcp4,
                               .tcp6 = offloads.tcp6,
                               .ecn = offloads.ecn});
}

void Backends::let_out(uint16_t device, const bus::DiskRequest& request, LogPos entry) {
    size_t index = static_cast<size_t>(device - machine::kFirstDisk);
    if (device < machine::kFirstDisk || index >= disks_.size())
        return log_error("a disk request of the guest names no disk: {}", device);
    host::DiskAction action = action_of(request.operation);
    auto done = [this, device, number = request.number, index, action](host::DiskStatus status, Bytes data) {
        if (status == host::DiskStatus::kStopped) return;
        complain(index, action, status);
        ++completions_;
        hooks_.input(drive::make_input(
            device, record::DiskCompletion{
                        .request = number, .status = guest_status(status), .data = std::move(data)}));
        check_drained();
    };
    disks_[index]->submit({.action = action,
                           .offset = request.offset,
                           .size = request.size,
                           .data = request.data,
                           .entry = entry,
                           .done = done});
}

void Backends::issue_kept() {
    for (auto& disk : disks_) disk->issue_kept();
}

/// Tells the operator what the guest sees as an I/O error, but not each of thousands.
void Backends::complain(size_t disk, host::DiskAction action, host::DiskStatus status) {
    bool full = status == host::DiskStatus::kNoSpace;
    if (!full && status != host::DiskStatus::kIoError) return;
    uint64_t now = loop_.now_ns();
    uint64_t& last = complained_ns_[disk];
    if (last && now - last < kComplaintPauseNs) return;
    last = now;
    const std::string& path = settings_.disks[disk].path;
    if (full)
        log_error("VM {}: the file system of {} is full, and the guest gets I/O errors; free some space",
                  settings_.name, path);
    else
        log_error(
            "VM {}: {} {} failed, and the guest gets I/O errors; look at the storage and the kernel's log "
            "(dmesg)",
            settings_.name, verb_of(action), path);
}

void Backends::let_out(uint16_t device, const bus::RandomRequest& request, LogPos) {
    record::RandomBytes answer{.request = request.number, .bytes = Bytes(request.size)};
    host::fill_random(answer.bytes);
    ++completions_;
    hooks_.input(drive::make_input(device, answer));
}

void Backends::pause_inputs() {
    if (std::exchange(inputs_paused_, true)) return;
    for (auto& network : networks_) network->pause_receiving();
    if (console_) console_->pause_input();
}

void Backends::resume_inputs() {
    if (!std::exchange(inputs_paused_, false)) return;
    for (auto& network : networks_) network->resume_receiving();
    if (console_ && !console_paused_) console_->resume_input();
}

void Backends::pause_console() {
    if (console_ && !std::exchange(console_paused_, true)) console_->pause_input();
}

void Backends::resume_console() {
    if (console_ && std::exchange(console_paused_, false) && !inputs_paused_) console_->resume_input();
}

size_t Backends::in_flight() const {
    size_t count = 0;
    for (const auto& disk : disks_) count += disk->in_flight();
    return count;
}

void Backends::drain() {
    draining_ = true;
    check_drained();
}

// A disk counts a request as ended once its callback has returned, so look a moment later.
void Backends::check_drained() {
    if (!draining_) return;
    loop_.post([this, alive = std::weak_ptr<bool>(alive_)] {
        if (alive.expired() || in_flight() > 0) return;
        if (std::exchange(draining_, false)) hooks_.drained();
    });
}

void Backends::stop() {
    stopped_ = true;
    live_ = false;
    for (auto& disk : disks_) disk->stop_issuing();
    check_drained();
}

std::string Backends::console_place() const { return console_ ? console_->place() : ""; }

Backends::Traffic Backends::traffic() const {
    Traffic traffic;
    for (const auto& network : networks_) {
        traffic.packets_in += network->counters().frames_in;
        traffic.packets_out += network->counters().frames_out;
    }
    for (const auto& disk : disks_) {
        traffic.disk_reads += disk->counters().reads;
        traffic.disk_writes += disk->counters().writes;
        traffic.disk_errors += disk->counters().errors;
    }
    return traffic;
}

}  // namespace lockstep::vmm
