// SPDX-License-Identifier: Apache-2.0
#include "machine/board.h"

#include <algorithm>
#include <map>

#include "base/check.h"
#include "base/log.h"
#include "devices/virtio/block/block.h"
#include "devices/virtio/console/console.h"
#include "devices/virtio/net/net.h"
#include "devices/virtio/rng/rng.h"
#include "machine/firmware.h"
#include "record/payloads.h"

namespace lockstep::machine {

namespace {

constexpr unsigned kPciRandom = 1, kPciConsole = 2, kPciFirstDisk = 3, kPciFirstNetwork = 19;
static_assert(kPciFirstDisk + kMaxDisks <= kPciFirstNetwork);
static_assert(kPciFirstNetwork + kMaxNetworks < bus::kPciDevices);  // the last one is the firmware's
static_assert(kFirstDisk + kMaxDisks <= kFirstNetwork);

constexpr uint32_t kPciWindow = 0xc0000000, kPciWindowStep = 0x10000;
constexpr unsigned kPciPin = 16, kPciInput = 10, kPciInputs = 2;
constexpr uint16_t kLevelInputs = ((1 << kPciInputs) - 1) << kPciInput;

constexpr uint32_t kTimeVersion = 1;

/// One line to two controllers.
class SplitLine : public bus::InterruptLine {
  public:
    SplitLine(bus::InterruptLine& one, bus::InterruptLine& other) : one_(one), other_(other) {}
    void set_level(bool asserted) override {
        one_.set_level(asserted);
        other_.set_level(asserted);
    }

  private:
    bus::InterruptLine& one_;
    bus::InterruptLine& other_;
};

}  // namespace

Result<void> Board::check(const MachineConfig& config) {
    if (config.disks.size() > kMaxDisks)
        return error("{} disks: at most {} are possible", config.disks.size(), kMaxDisks);
    if (config.networks.size() > kMaxNetworks)
        return error("{} networks: at most {} are possible", config.networks.size(), kMaxNetworks);
    constexpr uint64_t kBlock = devices::Flash::kBlock, kMostFirmware = 16 << 20;
    if (!config.firmware.empty() &&
        (config.firmware.size() % kBlock || config.variables.size() % kBlock || config.variables.empty() ||
         config.firmware.size() + config.variables.size() > kMostFirmware))
        return error(
            "firmware of {} bytes with {} bytes of variables: whole blocks of 4 KiB are possible, 16 MiB at "
            "most",
            config.firmware.size(), config.variables.size());
    for (const DiskConfig& disk : config.disks) {
        if (disk.size_bytes == 0 || disk.size_bytes % devices::virtio::Block::kSector)
            return error("a disk of {} bytes: the size must be a multiple of 512", disk.size_bytes);
        if (disk.serial.size() > 20)
            return error("the disk serial '{}' is longer than 20 bytes", disk.serial);
    }
    return {};
}

Board::Board(const MachineConfig& config, memory::GuestMemory& memory, const bus::IcountSource& icount,
             bus::OutputSink& sink)
    : memory_(memory),
      icount_(icount),
      sink_(sink),
      timers_(clock_, icount),
      lapic_(timers_),
      ioapic_(lapic_),
      pic_(kLevelInputs) {
    using namespace devices;
    std::array<bus::InterruptLine*, kHpetTimers> hpet_lines;
    for (unsigned i = 0; i < kHpetTimers; ++i) hpet_lines[i] = &ioapic_.line(kHpetFirstPin + i);
    hpet_ = std::make_unique<Hpet>(std::array{&split_line(0, kPitPin), &split_line(kRtcPin, kRtcPin)},
                                   hpet_lines, timers_);
    pit_ = std::make_unique<Pit>(hpet_->replaced_line(0), timers_);
    rtc_ = std::make_unique<Rtc>(config.start_time_ns, hpet_->replaced_line(1), timers_);
    power_ = std::make_unique<Power>(split_line(kSciPin, kSciPin), timers_);
    rtc_->set_alarm_listener([this] { power_->rtc_alarm(); });
    uart_ = std::make_unique<Uart>(kSerialDevice, split_line(kUartPin, kUartPin), timers_, sink_);
    devices_ = {&pci_,      &lapic_,    &ioapic_,     &pic_,      hpet_.get(),
                pit_.get(), rtc_.get(), power_.get(), uart_.get()};
    by_number_[kSerialDevice] = uart_.get();

    add_virtio<virtio::Rng>(kRandomDevice, kPciRandom, requests_, sink_);
    if (config.console) add_virtio<virtio::Console>(kConsoleDevice, kPciConsole, sink_);
    for (unsigned i = 0; i < config.disks.size(); ++i) {
        const DiskConfig& disk = config.disks[i];
        add_virtio<virtio::Block>(
            static_cast<uint16_t>(kFirstDisk + i), kPciFirstDisk + i, fmt::format("disk{}", i),
            virtio::BlockConfig{disk.size_bytes, disk.read_only, disk.serial}, requests_, sink_);
    }
    for (unsigned i = 0; i < config.networks.size(); ++i) {
        const NetworkConfig& network = config.networks[i];
        add_virtio<virtio::Net>(
            static_cast<uint16_t>(kFirstNetwork + i), kPciFirstNetwork + i, fmt::format("network{}", i),
            network.mac, network.offloads ? virtio::NetFeatures::kOffloads : virtio::NetFeatures::kPlain,
            sink_);
    }
    connect();
    if (config.firmware.empty())
        pci_.attach(0, host_bridge_);
    else
        add_firmware(config);
    reset();
}

void Board::add_firmware(const MachineConfig& config) {
    constexpr unsigned kPciIsaBridge = 31, kPciPower = 1, kPowerFunction = 3;
    pci_.attach(0, firmware_host_bridge_);
    pci_.attach(kPciIsaBridge, firmware_isa_bridge_);
    pci_.attach(kPciPower, firmware_power_, kPowerFunction);
    flash_ = std::make_unique<devices::Flash>(config.variables);
    firmware_config_ = std::make_unique<devices::FirmwareConfig>(memory_);
    describe_machine(*firmware_config_, memory_);
    CHECK(mmio_.claim(GuestPhys(memory_.rom_start() - flash_->size()), flash_->size(), *flash_));
    ports_.claim(devices::kFirmwareConfigPort, devices::kFirmwareConfigPorts, *firmware_config_);
    devices_.push_back(flash_.get());
    devices_.push_back(firmware_config_.get());
}

template <typename Model, typename... Args>
void Board::add_virtio(uint16_t number, unsigned pci_device, Args&&... args) {
    auto model = std::make_unique<Model>(number, std::forward<Args>(args)...);
    if constexpr (std::is_base_of_v<devices::virtio::Requester, Model>) requesters_.push_back(model.get());
    unsigned input = kPciInput + pci_device % kPciInputs, pin = kPciPin + pci_device % 4;
    devices::virtio::PciPlace place{kPciWindow + pci_device * kPciWindowStep, static_cast<uint8_t>(input)};
    virtio_.push_back(std::make_unique<devices::virtio::PciTransport>(std::move(model), memory_, lapic_,
                                                                      split_line(input, pin), place));
    pci_.attach(pci_device, *virtio_.back());
    devices_.push_back(virtio_.back().get());
    by_number_[number] = virtio_.back().get();
}

void Board::connect() {
    using namespace devices;
    lapic_.set_eoi_listener([this](uint8_t vector) { ioapic_.end_of_interrupt(vector); });
    CHECK(mmio_.claim(GuestPhys(kLapicAddress), kLapicSize, lapic_));
    CHECK(mmio_.claim(GuestPhys(kIoapicAddress), kIoapicSize, ioapic_));
    CHECK(mmio_.claim(GuestPhys(kHpetAddress), kHpetSize, *hpet_));
    ports_.claim(kPicPorts[0], kPicPortCount, pic_.chip(0));
    ports_.claim(kPicPorts[1], kPicPortCount, pic_.chip(1));
    ports_.claim(kPicLevelPort, 2, pic_.level_ports());
    ports_.claim(kPitPort, kPitPorts, *pit_);
    ports_.claim(kPitControlPort, 1, pit_->control_port());
    ports_.claim(kKeyboardPort, 1, power_->keyboard_port());
    ports_.claim(kRtcPort, kRtcPorts, *rtc_);
    ports_.claim(kUartPort, kUartPorts, *uart_);
    ports_.claim(kPowerPort, kPowerPorts, *power_);
    // Port cf9 lies between the two of PCI: of its four address ports only the first takes whole words.
    ports_.claim(bus::kPciAddressPort, 1, pci_.address_port());
    ports_.claim(kResetPort, 1, power_->reset_port());
    ports_.claim(bus::kPciDataPort, 4, pci_.data_port());
}

bus::InterruptLine& Board::split_line(unsigned input, unsigned pin) {
    split_lines_.push_back(std::make_unique<SplitLine>(ioapic_.line(pin), pic_.line(input)));
    return *split_lines_.back();
}

void Board::reset() {
    for (bus::Device* device : devices_) device->reset();
    pci_.map_functions();
}

void Board::deliver(const record::Entry& entry) {
    if (entry.device == 0) {
        control(entry);
    } else if (auto found = by_number_.find(entry.device); found != by_number_.end()) {
        found->second->input(entry);
    } else {
        log_error("an entry of the log names device {}, which this machine doesn't have", entry.device);
    }
    timers_.run_due();
}

size_t Board::input_room(uint16_t device) const {
    auto found = by_number_.find(device);
    return found == by_number_.end() ? SIZE_MAX : found->second->input_room();
}

void Board::control(const record::Entry& entry) {
    Icount now = icount_.icount();
    if (auto rate = record::decode<record::TimeRate>(entry); rate && rate.value().rate) {
        clock_.set_rate(now, rate.value().rate);
    } else if (auto advance = record::decode<record::TimeAdvance>(entry)) {
        clock_.advance(now, advance.value().ticks);
    } else if (auto power = record::decode<record::PowerControl>(entry)) {
        power_->control(power.value().action);
        if (leave_requested()) leave();
    } else {
        log_error("an entry of the log, of kind {}, means nothing to the machine",
                  static_cast<unsigned>(entry.kind));
    }
    timers_.clock_changed();
}

// What is due happens and what was gathered leaves before the machine stops: at the entry that ends it, so that its state
// is the same for who then runs it and for who doesn't.
void Board::leave() {
    timers_.clock_changed();
    timers_.run_due();
    uart_->flush();
}

void Board::save(SectionWriter& out) const {
    out.section("time", kTimeVersion, [this](ByteWriter& to) {
        clock_.save(to);
        to.varint(requests_.peek());
    });
    for (const bus::Device* device : devices_)
        out.section(device->name(), device->state_version(), [device](ByteWriter& to) { device->save(to); });
}

Result<void> Board::load(SectionReader& in) {
    std::vector<std::string_view> names{"time"};
    for (const bus::Device* device : devices_) names.push_back(device->name());
    TRY(in.expect(names));
    TRY(in.section("time", kTimeVersion, [this](ByteReader& from) -> Result<void> {
        clock_.load(from);
        requests_.set(from.varint());
        if (clock_.rate() == 0) return error("the saved machine's time stands still; the state is damaged");
        return {};
    }));
    for (bus::Device* device : devices_)
        TRY(in.section(device->name(), device->state_version(),
                       [device](ByteReader& from) { return device->load(from); }));
    pci_.map_functions();
    timers_.clock_changed();
    return {};
}

std::vector<bus::Output> Board::unanswered() const {
    std::multimap<uint64_t, bus::Output> by_number;
    for (const devices::virtio::Requester* requester : requesters_)
        for (devices::virtio::UnansweredRequest& request : requester->unanswered())
            by_number.emplace(request.number, std::move(request.output));
    std::vector<bus::Output> outputs;
    for (auto& [number, output] : by_number) outputs.push_back(std::move(output));
    return outputs;
}

std::string Board::describe() const {
    std::string text = fmt::format("guest time {} ns, rate {:#x}, next timer {} ns\n", timers_.now_ns(),
                                   clock_.rate(), timers_.next_deadline_ns());
    for (const bus::Device* device : devices_) {
        Bytes state;
        ByteWriter out(state);
        device->save(out);
        text += fmt::format(
            "{:10} {:6} bytes  {:02x}\n", device->name(), state.size(),
            fmt::join(state.begin(), state.begin() + static_cast<int64_t>(std::min<size_t>(state.size(), 48)),
                      ""));
    }
    return text;
}

}  // namespace lockstep::machine
