// SPDX-License-Identifier: Apache-2.0
#include "machine/acpi.h"

#include <string_view>

#include "base/check.h"
#include "devices/ioapic/ioapic.h"
#include "devices/lapic/lapic.h"
#include "devices/legacy/hpet.h"
#include "devices/legacy/pit.h"
#include "devices/power/power.h"

namespace lockstep::machine {

namespace {

#include "dsdt.hex"

constexpr size_t kAlignment = 16;
constexpr size_t kChecksumOffset = 9, kLengthOffset = 4;
constexpr std::string_view kOemId = "LOCKST", kOemTableId = "LOCKSTEP", kCreatorId = "LKST";

uint8_t checksum(ByteSpan bytes) {
    uint8_t sum = 0;
    for (uint8_t byte : bytes) sum = static_cast<uint8_t>(sum + byte);
    return static_cast<uint8_t>(-sum);
}

void put_text(Bytes& table, std::string_view text) { table.insert(table.end(), text.begin(), text.end()); }

// A table is begun with its header, filled, and closed with its length and checksum.
Bytes begin_table(std::string_view signature, uint8_t revision) {
    Bytes table;
    ByteWriter out(table);
    put_text(table, signature);
    out.fixed(uint32_t{0});
    out.fixed(revision);
    out.fixed(uint8_t{0});
    put_text(table, kOemId);
    put_text(table, kOemTableId);
    out.fixed(uint32_t{1});
    put_text(table, kCreatorId);
    out.fixed(uint32_t{1});
    return table;
}

void close_table(Bytes& table) {
    uint32_t size = static_cast<uint32_t>(table.size());
    std::memcpy(&table[kLengthOffset], &size, sizeof size);
    table[kChecksumOffset] = 0;
    table[kChecksumOffset] = checksum(table);
}

template <typename T>
void put_at(Bytes& table, size_t offset, T value) {
    CHECK(offset + sizeof value <= table.size());
    std::memcpy(&table[offset], &value, sizeof value);
}

// A generic address structure for I/O ports; `access`: 1 byte, 2 word, 3 double word.
void put_port(Bytes& table, size_t offset, uint8_t bits, uint8_t access, uint64_t port) {
    put_at<uint8_t>(table, offset, 1);
    put_at<uint8_t>(table, offset + 1, bits);
    put_at<uint8_t>(table, offset + 3, access);
    put_at<uint64_t>(table, offset + 4, port);
}

// Fixed ACPI description table (5.2.9). Offsets are those of the specification's table 5.33.
Bytes fixed_description(uint64_t facs, uint64_t dsdt) {
    constexpr size_t kSize = 276;
    constexpr uint16_t kBootNoVga = 1 << 2;
    constexpr uint32_t kCachesFlush = 1 << 0, kHaltWorks = 1 << 2, kNoSleepButton = 1 << 5,
                       kResetRegister = 1 << 10;
    const uint16_t control = devices::kPowerPort + devices::kPowerControlOffset;
    const uint16_t timer = devices::kPowerPort + devices::kPowerTimerOffset;
    Bytes table = begin_table("FACP", 6);
    table.resize(kSize);
    put_at(table, 36, static_cast<uint32_t>(facs));
    put_at(table, 40, static_cast<uint32_t>(dsdt));
    put_at<uint8_t>(table, 45, 4);  // an enterprise server
    put_at<uint16_t>(table, 46, devices::kSciPin);
    put_at<uint32_t>(table, 56, devices::kPowerPort);
    put_at<uint32_t>(table, 64, control);
    put_at<uint32_t>(table, 76, timer);
    put_at<uint8_t>(table, 88, 4);  // sizes of the three blocks
    put_at<uint8_t>(table, 89, 2);
    put_at<uint8_t>(table, 91, 4);
    put_at<uint16_t>(table, 96, 0xffff);  // no C2, no C3
    put_at<uint16_t>(table, 98, 0xffff);
    put_at<uint8_t>(table, 108, 0x32);  // the century in CMOS memory
    put_at(table, 109, kBootNoVga);
    put_at(table, 112, kCachesFlush | kHaltWorks | kNoSleepButton | kResetRegister);
    put_port(table, 116, 8, 1, devices::kResetPort);
    put_at(table, 128, devices::kResetValue);
    put_at<uint8_t>(table, 131, 4);  // minor revision
    put_at(table, 140, dsdt);
    put_port(table, 148, 32, 2, devices::kPowerPort);
    put_port(table, 172, 16, 2, control);
    put_port(table, 208, 32, 3, timer);
    close_table(table);
    return table;
}

// Multiple APIC description table (5.2.12).
Bytes multiple_apics() {
    Bytes table = begin_table("APIC", 5);
    ByteWriter out(table);
    auto put_override = [&out](uint8_t irq, uint32_t pin, uint16_t flags) {
        out.fixed(uint8_t{2});
        out.fixed(uint8_t{10});
        out.fixed(uint8_t{0});
        out.fixed(irq);
        out.fixed(pin);
        out.fixed(flags);
    };
    out.fixed(static_cast<uint32_t>(devices::kLapicAddress));
    out.fixed(uint32_t{1});  // there are 8259s as well
    // The processor's local APIC: processor 0, identifier 0, enabled.
    for (uint8_t byte : {0, 8, 0, 0, 1, 0, 0, 0}) out.fixed(byte);
    // The I/O APIC: identifier 0, interrupts from 0.
    for (uint8_t byte : {1, 12, 0, 0}) out.fixed(byte);
    out.fixed(static_cast<uint32_t>(devices::kIoapicAddress));
    out.fixed(uint32_t{0});
    put_override(0, devices::kPitPin, 0);
    put_override(devices::kSciPin, devices::kSciPin, 0xd);  // active high, level
    close_table(table);
    return table;
}

// Description table of the event timer (IA-PC HPET specification 1.0a, 3.2.4).
Bytes event_timer() {
    Bytes table = begin_table("HPET", 1);
    ByteWriter out(table);
    out.fixed(devices::kHpetIdentity);
    for (uint8_t byte : {0, 64, 0, 0}) out.fixed(byte);  // a memory address, 64 bits wide
    out.fixed(devices::kHpetAddress);
    out.fixed(uint8_t{0});      // number
    out.fixed(uint16_t{1000});  // shortest period, ticks
    out.fixed(uint8_t{0});      // page protection
    close_table(table);
    return table;
}

AcpiTables::Area area_of(uint64_t start, size_t end) {
    return {static_cast<uint32_t>(start), static_cast<uint32_t>(end - start)};
}

// Root system description pointer (5.2.5.3): one checksum over its first 20 bytes, one over all.
constexpr size_t kRootSize = 36;

}  // namespace

AcpiTables make_acpi_tables(uint64_t base) {
    constexpr size_t kFacsSize = 64, kFirstPointer = 36;
    AcpiTables made;
    Bytes& area = made.tables;
    auto place = [&](ByteSpan table, size_t alignment) {
        area.resize((area.size() + alignment - 1) / alignment * alignment);
        uint64_t at = base + area.size();
        area.insert(area.end(), table.begin(), table.end());
        return at;
    };

    Bytes facs(kFacsSize);
    std::memcpy(facs.data(), "FACS", 4);
    put_at<uint32_t>(facs, 4, kFacsSize);
    put_at<uint8_t>(facs, 32, 2);  // version
    uint64_t facs_at = place(facs, kFacsSize);
    uint64_t dsdt_at = place(dsdt_aml_code, kAlignment);
    uint64_t fadt_at = place(fixed_description(facs_at, dsdt_at), kAlignment);
    made.checksums.push_back(area_of(fadt_at - base, area.size()));
    for (uint32_t offset : {36u, 40u}) made.pointers.push_back({made.checksums[0].start + offset, 4});
    made.pointers.push_back({made.checksums[0].start + 140, 8});
    uint64_t madt_at = place(multiple_apics(), kAlignment);
    uint64_t hpet_at = place(event_timer(), kAlignment);

    Bytes xsdt = begin_table("XSDT", 1);
    ByteWriter out(xsdt);
    out.fixed(fadt_at);
    out.fixed(madt_at);
    out.fixed(hpet_at);
    close_table(xsdt);
    made.root_table = place(xsdt, kAlignment) - base;
    made.checksums.push_back(area_of(made.root_table, area.size()));
    for (uint32_t i = 0; i < 3; ++i)
        made.pointers.push_back({made.checksums[1].start + static_cast<uint32_t>(kFirstPointer) + 8 * i, 8});
    return made;
}

Bytes make_acpi_root(uint64_t root_table) {
    Bytes root(kRootSize);
    std::memcpy(root.data(), "RSD PTR ", 8);
    std::memcpy(&root[9], kOemId.data(), kOemId.size());
    root[15] = 2;
    put_at<uint32_t>(root, 20, kRootSize);
    put_at(root, 24, root_table);
    root[8] = checksum(ByteSpan(root).first(20));
    root[32] = checksum(root);
    return root;
}

Bytes acpi_tables() {
    constexpr uint64_t kTables = 64;  // behind the root pointer
    AcpiTables made = make_acpi_tables(kAcpiStart.value() + kTables);
    Bytes area = make_acpi_root(kAcpiStart.value() + kTables + made.root_table);
    area.resize(kTables);
    area.insert(area.end(), made.tables.begin(), made.tables.end());
    CHECK(area.size() <= kAcpiSize);
    return area;
}

}  // namespace lockstep::machine
