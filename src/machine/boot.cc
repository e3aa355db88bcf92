// SPDX-License-Identifier: Apache-2.0
#include "machine/boot.h"

#include <algorithm>

#include "base/check.h"
#include "machine/acpi.h"

namespace lockstep::machine {

namespace {

constexpr GuestPhys kDescriptors{0x500}, kPageTables{0x9000}, kParameters{0x10000}, kCommandLine{0x20000};
constexpr uint64_t kParametersSize = 0x1000;
constexpr uint64_t kLowMemoryEnd = 0x9fc00, kHighMemoryStart = 0x100000;
constexpr uint16_t kCodeSelector = 0x10, kDataSelector = 0x18;

// Offsets in the setup header, from the start of the file and of the boot parameters alike.
constexpr size_t kHeaderStart = 0x1f1, kSetupSectors = 0x1f1, kSystemSize = 0x1f4, kBootFlag = 0x1fe,
                 kHeaderJump = 0x201, kHeaderMagic = 0x202, kProtocol = 0x206, kLoaderType = 0x210,
                 kLoadFlags = 0x211, kInitrdAddress = 0x218, kInitrdSize = 0x21c, kHeapEnd = 0x224,
                 kCommandLineAddress = 0x228, kInitrdMax = 0x22c, kExtendedFlags = 0x236,
                 kCommandLineMax = 0x238, kPreferredAddress = 0x258, kInitSize = 0x260,
                 kHeaderMinimum = 0x264;
// Offsets in the boot parameters alone.
constexpr size_t kAcpiRoot = 0x070, kMemoryMapCount = 0x1e8, kMemoryMap = 0x2d0;

constexpr uint16_t kProtocolOldest = 0x20c;  // 2.12, the first with the 64-bit entry
constexpr uint16_t kHas64BitEntry = 1;
constexpr uint8_t kLoadedHigh = 1, kCanUseHeap = 0x80;
constexpr uint64_t kEntryOffset = 0x200;

struct Kernel {
    ByteSpan file;
    template <typename T>
    T field(size_t offset) const {
        T value;
        std::memcpy(&value, &file[offset], sizeof value);
        return value;
    }
    size_t code_start() const {
        uint8_t sectors = field<uint8_t>(kSetupSectors);
        return (sectors ? sectors + 1u : 5u) * 512;
    }
};

Result<void> check_header(const Kernel& kernel) {
    if (kernel.file.size() < kHeaderMinimum || kernel.field<uint16_t>(kBootFlag) != 0xaa55 ||
        kernel.field<uint32_t>(kHeaderMagic) != 0x53726448)
        return error(
            "the kernel is not a Linux bzImage; give the file that the distribution has as /boot/vmlinuz");
    uint16_t protocol = kernel.field<uint16_t>(kProtocol);
    if (protocol < kProtocolOldest)
        return error("the kernel's boot protocol {}.{:02} is too old; give a kernel from Linux 3.8 (2.12) on",
                     protocol >> 8, protocol & 0xff);
    if (!(kernel.field<uint16_t>(kExtendedFlags) & kHas64BitEntry))
        return error("the kernel has no 64-bit entry point; use an amd64 kernel");
    uint64_t whole = kernel.code_start() + 16 * uint64_t{kernel.field<uint32_t>(kSystemSize)};
    if (kernel.code_start() >= kernel.file.size() || whole > kernel.file.size())
        return error("the kernel's file is cut short, it has {} bytes of {}; copy it again",
                     kernel.file.size(), whole);
    return {};
}

struct Placement {
    uint64_t kernel, kernel_end, initrd;
};

Result<Placement> place(uint64_t ram_size, const Kernel& kernel, const BootImage& image) {
    uint64_t code_size = kernel.file.size() - kernel.code_start();
    uint64_t start = kernel.field<uint64_t>(kPreferredAddress);
    uint64_t size = std::max<uint64_t>(kernel.field<uint32_t>(kInitSize), code_size);
    uint64_t low_end = std::min(ram_size, memory::kLowRamEnd);
    if (start < kHighMemoryStart) return error("the kernel asks to be loaded at {:#x}, below 1 MiB", start);
    if (start > low_end || size > low_end - start)
        return error("the guest has {} MiB of memory, its kernel alone needs {} MiB; give it more",
                     ram_size >> 20, ((start + size) >> 20) + 1);
    uint64_t top = std::min<uint64_t>(low_end, uint64_t{kernel.field<uint32_t>(kInitrdMax)} + 1);
    uint64_t initrd_size = image.initrd.size();
    if (initrd_size > top || ((top - initrd_size) & ~kPageMask) < start + size)
        return error(
            "the guest has {} MiB of memory, too little for its kernel and an initrd of {} MiB; give it more",
            ram_size >> 20, (initrd_size >> 20) + 1);
    return Placement{start, start + size, (top - initrd_size) & ~kPageMask};
}

void write_page_tables(memory::GuestMemory& memory) {
    constexpr uint64_t kPresentWritable = 3, kLarge = 0x80;
    GuestPhys level4 = kPageTables, level3 = kPageTables + kPageSize;
    memory.write_number<uint64_t>(level4, level3.value() | kPresentWritable);
    for (uint64_t gigabyte = 0; gigabyte < 4; ++gigabyte) {
        GuestPhys level2 = kPageTables + (2 + gigabyte) * kPageSize;
        memory.write_number<uint64_t>(level3 + 8 * gigabyte, level2.value() | kPresentWritable);
        for (uint64_t i = 0; i < 512; ++i)
            memory.write_number<uint64_t>(level2 + 8 * i,
                                          (gigabyte << 30 | i << 21) | kPresentWritable | kLarge);
    }
}

void write_descriptors(memory::GuestMemory& memory) {
    constexpr uint64_t kCode64 = 0x00af9b000000ffff, kData = 0x00cf93000000ffff;
    memory.write_number<uint64_t>(kDescriptors + kCodeSelector, kCode64);
    memory.write_number<uint64_t>(kDescriptors + kDataSelector, kData);
}

// The memory map (e820): what is RAM, and the BIOS area with the ACPI tables.
void write_memory_map(const memory::GuestMemory& memory, Bytes& parameters) {
    constexpr uint32_t kRam = 1, kReserved = 2;
    Bytes map;
    ByteWriter out(map);
    uint8_t count = 0;
    auto add = [&](uint64_t start, uint64_t end, uint32_t type) {
        out.fixed(start);
        out.fixed(end - start);
        out.fixed(type);
        ++count;
    };
    add(0, kLowMemoryEnd, kRam);
    add(kLowMemoryEnd, kHighMemoryStart, kReserved);
    add(kHighMemoryStart, memory.low_ram_size(), kRam);
    if (memory.high_ram_size()) add(memory::kHighRamStart, memory.physical_end(), kRam);
    std::copy(map.begin(), map.end(), parameters.begin() + kMemoryMap);
    parameters[kMemoryMapCount] = count;
}

template <typename T>
void put(Bytes& bytes, size_t offset, T value) {
    std::memcpy(&bytes[offset], &value, sizeof value);
}

Bytes boot_parameters(const memory::GuestMemory& memory, const Kernel& kernel, const BootImage& image,
                      const Placement& placement) {
    Bytes parameters(kParametersSize);
    size_t header_end = std::min(kHeaderMagic + kernel.field<uint8_t>(kHeaderJump), kernel.file.size());
    std::copy(kernel.file.begin() + kHeaderStart, kernel.file.begin() + static_cast<int64_t>(header_end),
              parameters.begin() + kHeaderStart);
    put<uint8_t>(parameters, kLoaderType, 0xff);
    put<uint8_t>(parameters, kLoadFlags, kernel.field<uint8_t>(kLoadFlags) | kLoadedHigh | kCanUseHeap);
    put<uint16_t>(parameters, kHeapEnd, 0xfe00);
    put<uint32_t>(parameters, kCommandLineAddress, static_cast<uint32_t>(kCommandLine.value()));
    if (!image.initrd.empty()) {
        put<uint32_t>(parameters, kInitrdAddress, static_cast<uint32_t>(placement.initrd));
        put<uint32_t>(parameters, kInitrdSize, static_cast<uint32_t>(image.initrd.size()));
    }
    put<uint64_t>(parameters, kAcpiRoot, kAcpiStart.value());
    write_memory_map(memory, parameters);
    return parameters;
}

Result<Placement> checked_placement(const Kernel& kernel, const BootImage& image, uint64_t ram_size) {
    TRY(check_header(kernel));
    uint32_t longest = std::min<uint32_t>(kernel.field<uint32_t>(kCommandLineMax), 0x10000);
    if (image.command_line.size() > longest)
        return error("the kernel's command line has {} bytes, this kernel takes {}; shorten it",
                     image.command_line.size(), longest);
    return place(ram_size, kernel, image);
}

}  // namespace

Result<void> check_boot(const BootImage& image, uint64_t ram_bytes) {
    TRY(checked_placement(Kernel{image.kernel}, image, ram_bytes));
    return {};
}

Result<BootEntry> load_linux(memory::GuestMemory& memory, const BootImage& image) {
    Kernel kernel{image.kernel};
    Placement placement = TRY(checked_placement(kernel, image, memory.ram_size()));

    memory.write(GuestPhys(placement.kernel), kernel.file.subspan(kernel.code_start()));
    memory.write(GuestPhys(placement.initrd), image.initrd);
    const std::string& line = image.command_line;
    memory.write(kCommandLine, {reinterpret_cast<const uint8_t*>(line.c_str()), line.size() + 1});
    memory.write(kParameters, boot_parameters(memory, kernel, image, placement));
    memory.write(kAcpiStart, acpi_tables());
    write_page_tables(memory);
    write_descriptors(memory);
    return BootEntry{GuestPhys(placement.kernel + kEntryOffset),
                     kParameters,
                     kPageTables,
                     kDescriptors,
                     kDataSelector + 8,
                     kCodeSelector,
                     kDataSelector};
}

}  // namespace lockstep::machine
