// SPDX-License-Identifier: Apache-2.0
#include "machine/firmware.h"

#include <string_view>

#include "machine/acpi.h"

namespace lockstep::machine {

namespace {

constexpr uint16_t kProcessors = 0x05, kMostProcessors = 0x0f;
constexpr std::string_view kRootFile = "etc/acpi/rsdp", kTablesFile = "etc/acpi/tables";

Bytes number(uint16_t value) {
    Bytes bytes;
    ByteWriter(bytes).fixed(value);
    return bytes;
}

Bytes memory_map(const memory::GuestMemory& memory) {
    constexpr uint32_t kRam = 1;
    Bytes map;
    ByteWriter out(map);
    auto add = [&](uint64_t start, uint64_t size) {
        out.fixed(start);
        out.fixed(size);
        out.fixed(kRam);
    };
    add(0, memory.low_ram_size());
    if (memory.high_ram_size()) add(memory::kHighRamStart, memory.high_ram_size());
    return map;
}

/// What the firmware does with the files of tables (QEMU, hw/acpi/bios-linker-loader.c): commands of 128 bytes.
class Loader {
  public:
    void allocate(std::string_view file, uint32_t alignment) {
        begin(1);
        name(file);
        ByteWriter out(commands_);
        out.fixed(alignment);
        out.fixed(uint8_t{1});  // anywhere
        end();
    }
    void add_pointer(std::string_view in, std::string_view to, uint32_t offset, uint32_t size) {
        begin(2);
        name(in);
        name(to);
        ByteWriter out(commands_);
        out.fixed(offset);
        out.fixed(static_cast<uint8_t>(size));
        end();
    }
    void add_checksum(std::string_view file, uint32_t result, uint32_t start, uint32_t size) {
        begin(3);
        name(file);
        ByteWriter out(commands_);
        out.fixed(result);
        out.fixed(start);
        out.fixed(size);
        end();
    }
    Bytes take() { return std::move(commands_); }

  private:
    static constexpr size_t kCommandBytes = 128, kNameBytes = 56;
    void begin(uint32_t command) { ByteWriter(commands_).fixed(command); }
    void name(std::string_view text) {
        commands_.insert(commands_.end(), text.begin(), text.end());
        commands_.resize(commands_.size() + kNameBytes - text.size());
    }
    void end() { commands_.resize((commands_.size() + kCommandBytes - 1) / kCommandBytes * kCommandBytes); }

    Bytes commands_;
};

// The firmware computes checksums over what was zero in their place.
void add_tables(devices::FirmwareConfig& config) {
    constexpr uint32_t kRootPointer = 24, kFirstChecksum = 8, kFirstBytes = 20, kSecondChecksum = 32;
    constexpr uint32_t kTableChecksum = 9, kAlignment = 64;
    AcpiTables made = make_acpi_tables(0);
    Bytes root = make_acpi_root(made.root_table);
    Loader loader;
    loader.allocate(kRootFile, 16);
    loader.allocate(kTablesFile, kAlignment);
    for (const AcpiTables::Area& pointer : made.pointers)
        loader.add_pointer(kTablesFile, kTablesFile, pointer.start, pointer.size);
    for (const AcpiTables::Area& table : made.checksums) {
        made.tables[table.start + kTableChecksum] = 0;
        loader.add_checksum(kTablesFile, table.start + kTableChecksum, table.start, table.size);
    }
    root[kFirstChecksum] = root[kSecondChecksum] = 0;
    loader.add_pointer(kRootFile, kTablesFile, kRootPointer, 8);
    loader.add_checksum(kRootFile, kFirstChecksum, 0, kFirstBytes);
    loader.add_checksum(kRootFile, kSecondChecksum, 0, static_cast<uint32_t>(root.size()));
    config.add_file(std::string(kRootFile), std::move(root));
    config.add_file(std::string(kTablesFile), std::move(made.tables));
    config.add_file("etc/table-loader", loader.take());
}

}  // namespace

void describe_machine(devices::FirmwareConfig& config, const memory::GuestMemory& memory) {
    config.add_item(kProcessors, number(1));
    config.add_item(kMostProcessors, number(1));
    config.add_file("etc/e820", memory_map(memory));
    add_tables(config);
}

}  // namespace lockstep::machine
