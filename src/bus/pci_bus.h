// SPDX-License-Identifier: Apache-2.0
// PCI configuration space by ports CF8 and CFC (PCI Local Bus Specification 3.0, 3.2.2.3.2): bus 0 only, one
// function a device. Express' memory-mapped space isn't offered: everything of ours fits in 256 bytes.
#pragma once

#include <array>
#include <cstdint>

#include "bus/device.h"
#include "bus/mmio_bus.h"

namespace lockstep::bus {

/// The configuration space of one PCI function. `offset` is below 256; an access never crosses a 4-byte
/// boundary.
class PciFunction {
  public:
    virtual ~PciFunction() = default;
    virtual uint32_t read_config(unsigned offset, unsigned size) = 0;
    virtual void write_config(unsigned offset, unsigned size, uint32_t value) = 0;
    /// Where the function's registers answer now; size 0 where it has none or the guest has switched them
    /// off.
    struct MemoryRange {
        GuestPhys first;
        uint64_t size = 0;
        bool operator==(const MemoryRange&) const = default;
    };
    virtual MemoryRange memory_range() const { return {}; }
    /// Answers in memory_range(); null where there is never one.
    virtual RegisterHandler* memory_handler() { return nullptr; }
};

inline constexpr uint16_t kPciAddressPort = 0xcf8;
inline constexpr uint16_t kPciDataPort = 0xcfc;
inline constexpr unsigned kPciDevices = 32, kPciFunctions = 8;

class PciBus : public Device {
  public:
    explicit PciBus(MmioBus& mmio) : mmio_(mmio) {}

    /// `device`: its number on bus 0; `number`: of the function.
    void attach(unsigned device, PciFunction& function, unsigned number = 0);
    RegisterHandler& address_port() { return address_port_; }  ///< 4 ports
    RegisterHandler& data_port() { return data_port_; }        ///< 4 ports
    /// Puts every function where its memory_range() says, in the order of the devices' numbers; a range that
    /// overlaps another is left out. To be called after functions were reset or loaded.
    void map_functions();

    std::string_view name() const override { return "pci_bus"; }
    void reset() override { address_ = 0; }
    void save(ByteWriter& out) const override { out.fixed(address_); }
    Result<void> load(ByteReader& in) override;

  private:
    uint64_t read_address(uint64_t offset, unsigned size);
    void write_address(uint64_t offset, unsigned size, uint64_t value);
    uint64_t read_data(uint64_t offset, unsigned size);
    void write_data(uint64_t offset, unsigned size, uint64_t value);
    PciFunction* selected(uint64_t offset, unsigned size) const;

    MemberRegisters<PciBus, &PciBus::read_address, &PciBus::write_address> address_port_{*this};
    MemberRegisters<PciBus, &PciBus::read_data, &PciBus::write_data> data_port_{*this};
    MmioBus& mmio_;
    std::array<PciFunction*, kPciDevices * kPciFunctions> functions_{};
    uint32_t address_ = 0;
};

}  // namespace lockstep::bus
