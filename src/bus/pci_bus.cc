// SPDX-License-Identifier: Apache-2.0
#include "bus/pci_bus.h"

#include "base/check.h"

namespace lockstep::bus {

namespace {
constexpr uint32_t kEnable = 1u << 31;
constexpr uint32_t kWritable = 0x80fffffc;
}  // namespace

void PciBus::attach(unsigned device, PciFunction& function, unsigned number) {
    CHECK(device < kPciDevices && number < kPciFunctions && !functions_[device * kPciFunctions + number]);
    functions_[device * kPciFunctions + number] = &function;
}

Result<void> PciBus::load(ByteReader& in) {
    address_ = in.fixed<uint32_t>() & kWritable;
    if (!in.ok()) return error("the saved state of {} is cut short", name());
    return {};
}

uint64_t PciBus::read_address(uint64_t offset, unsigned size) {
    return offset == 0 && size == 4 ? address_ : ~uint64_t{0};
}

void PciBus::write_address(uint64_t offset, unsigned size, uint64_t value) {
    if (offset == 0 && size == 4) address_ = static_cast<uint32_t>(value) & kWritable;
}

// Bits of the address: 31 enable, 23:16 bus, 15:11 device, 10:8 function, 7:2 register.
PciFunction* PciBus::selected(uint64_t offset, unsigned size) const {
    if (!(address_ & kEnable) || (address_ & 0x00ff0000) || offset + size > 4) return nullptr;
    return functions_[address_ >> 8 & 0xff];
}

uint64_t PciBus::read_data(uint64_t offset, unsigned size) {
    PciFunction* function = selected(offset, size);
    if (!function) return ~uint64_t{0};
    return function->read_config((address_ & 0xfc) + static_cast<unsigned>(offset), size);
}

void PciBus::write_data(uint64_t offset, unsigned size, uint64_t value) {
    PciFunction* function = selected(offset, size);
    if (!function) return;
    PciFunction::MemoryRange before = function->memory_range();
    function->write_config((address_ & 0xfc) + static_cast<unsigned>(offset), size,
                           static_cast<uint32_t>(value));
    if (function->memory_range() != before) map_functions();
}

// What is mapped depends on the functions' present registers alone, not on the order in which the guest wrote
// them.
void PciBus::map_functions() {
    for (PciFunction* function : functions_)
        if (function && function->memory_handler()) mmio_.release(*function->memory_handler());
    for (PciFunction* function : functions_) {
        if (!function || !function->memory_handler()) continue;
        PciFunction::MemoryRange range = function->memory_range();
        if (range.size) mmio_.claim(range.first, range.size, *function->memory_handler());
    }
}

}  // namespace lockstep::bus
