// SPDX-License-Identifier: Apache-2.0
// The board: everything of the machine but processor and memory. It makes the devices, connects them, and is
// the Platform that the processor talks to.
//
// Fixed places, which src/machine/dsdt.asl and acpi.cc describe to the guest:
//
//     PCI device  0 host bridge, 1 entropy, 2 console, 3 + i disk i, 19 + i network i, 31 bridge to the serial port (with
//                 firmware)
//     I/O APIC    pin 2 interval timer, 4 serial, 8 clock, 9 power, 16 + n % 4 PCI device n, 20 + n event timer n
//     8259s       input 0 interval timer, 4 serial, 8 clock, 9 power, 10 + n % 2 PCI device n
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bus/mmio_bus.h"
#include "bus/pci_bus.h"
#include "bus/port_bus.h"
#include "bus/timer_queue.h"
#include "bus/virtual_clock.h"
#include "cpu/platform.h"
#include "devices/firmware/flash.h"
#include "devices/firmware/fw_cfg.h"
#include "devices/ioapic/ioapic.h"
#include "devices/lapic/lapic.h"
#include "devices/legacy/hpet.h"
#include "devices/legacy/pic.h"
#include "devices/legacy/pit.h"
#include "devices/pci/firmware_bridges.h"
#include "devices/pci/host_bridge.h"
#include "devices/power/power.h"
#include "devices/rtc/rtc.h"
#include "devices/uart/uart.h"
#include "devices/virtio/pci/transport.h"
#include "devices/virtio/requests.h"
#include "machine/machine.h"
#include "machine/sections.h"
#include "memory/guest_memory.h"

namespace lockstep::machine {

inline constexpr unsigned kMaxDisks = 16;
inline constexpr unsigned kMaxNetworks = 12;

class Board : public cpu::Platform {
  public:
    /// `icount` is asked only after the constructor has returned, but for guest time at power-on.
    Board(const MachineConfig& config, memory::GuestMemory& memory, const bus::IcountSource& icount,
          bus::OutputSink& sink);

    /// Whether a board can be made of this configuration; the error names what is wrong.
    static Result<void> check(const MachineConfig& config);

    bus::VirtualClock& clock() { return clock_; }
    bus::TimerQueue& timers() { return timers_; }
    const bus::TimerQueue& timers() const { return timers_; }
    devices::Power& power() { return *power_; }
    devices::Uart& uart() { return *uart_; }
    const std::vector<bus::Device*>& devices() const { return devices_; }

    /// Applies an input entry.
    void deliver(const record::Entry& entry);
    /// See bus::Device::input_room().
    size_t input_room(uint16_t device) const;
    /// Every device to its power-on state; time goes on.
    void reset();
    /// Time and all devices, each a section; there must be no others left.
    void save(SectionWriter& out) const;
    Result<void> load(SectionReader& in);
    std::vector<bus::Output> unanswered() const;
    std::string describe() const;

    // cpu::Platform
    uint64_t read_mmio(GuestPhys at, unsigned size) override { return mmio_.read(at, size); }
    void write_mmio(GuestPhys at, unsigned size, uint64_t value) override { mmio_.write(at, size, value); }
    uint32_t read_port(uint16_t port, unsigned size) override { return ports_.read(port, size); }
    void write_port(uint16_t port, unsigned size, uint32_t value) override {
        ports_.write(port, size, value);
    }
    bool interrupt_pending() const override { return lapic_.interrupt_pending() || pic_asks(); }
    uint8_t acknowledge_interrupt() override {
        return pic_asks() ? pic_.acknowledge_interrupt() : lapic_.acknowledge_interrupt();
    }
    std::optional<uint64_t> read_msr(uint32_t number) override { return lapic_.read_msr(number); }
    bool write_msr(uint32_t number, uint64_t value) override { return lapic_.write_msr(number, value); }
    uint64_t task_priority() const override { return lapic_.task_priority(); }
    void set_task_priority(uint64_t value) override { lapic_.set_task_priority(value); }
    TimeLine tsc_line() const override {
        TimeLine line = clock_.line();
        line.base += lapic_.tsc_adjust();
        return line;
    }
    Icount next_event() const override { return timers_.next_event(); }
    bool leave_requested() const override { return power_->request() != devices::PowerRequest::kNone; }

  private:
    template <typename Model, typename... Args>
    void add_virtio(uint16_t number, unsigned pci_device, Args&&... args);
    void connect();
    /// What a machine has that firmware starts.
    void add_firmware(const MachineConfig& config);
    bool pic_asks() const { return pic_.interrupt_pending() && lapic_.takes_external_interrupts(); }
    /// A line to an input of the 8259s and to a pin of the I/O APIC.
    bus::InterruptLine& split_line(unsigned input, unsigned pin);
    void control(const record::Entry& entry);
    void leave();

    memory::GuestMemory& memory_;
    const bus::IcountSource& icount_;
    bus::OutputSink& sink_;
    bus::VirtualClock clock_;
    bus::TimerQueue timers_;
    bus::PortBus ports_;
    bus::MmioBus mmio_;
    bus::PciBus pci_{mmio_};
    devices::virtio::RequestNumbers requests_;
    devices::Lapic lapic_;
    devices::Ioapic ioapic_;
    devices::HostBridge host_bridge_;
    devices::FirmwareHostBridge firmware_host_bridge_;
    devices::FirmwareIsaBridge firmware_isa_bridge_;
    devices::FirmwarePowerFunction firmware_power_;
    std::unique_ptr<devices::Flash> flash_;                     // where firmware starts the guest
    std::unique_ptr<devices::FirmwareConfig> firmware_config_;  // the same
    devices::Pic pic_;
    std::vector<std::unique_ptr<bus::InterruptLine>> split_lines_;
    std::unique_ptr<devices::Hpet> hpet_;
    std::unique_ptr<devices::Pit> pit_;
    std::unique_ptr<devices::Rtc> rtc_;
    std::unique_ptr<devices::Power> power_;
    std::unique_ptr<devices::Uart> uart_;
    std::vector<std::unique_ptr<devices::virtio::PciTransport>> virtio_;
    std::vector<bus::Device*> devices_;  // all of them, in the order in which they are saved
    std::vector<devices::virtio::Requester*> requesters_;
    std::map<uint16_t, bus::Device*> by_number_;
};

}  // namespace lockstep::machine
