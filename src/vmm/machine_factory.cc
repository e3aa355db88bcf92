// SPDX-License-Identifier: Apache-2.0
#include "vmm/machine_factory.h"

#include <algorithm>

#include "host/clock.h"
#include "host/disk_image.h"
#include "host/files.h"
#include "machine/boot.h"
#include "vmm/cpu_choice.h"
#include "vmm/perf_map.h"

namespace lockstep::vmm {

namespace {

/// Of kernel and initial RAM disk: with them the start of a recording stays within its frame.
constexpr uint64_t kMostBootBytes = 1000ull << 20;

Result<void> take_kernel(const VmSettings& settings, machine::MachineConfig& config) {
    config.kernel = TRY(host::read_file(settings.kernel));
    if (!settings.initrd.empty()) config.initrd = TRY(host::read_file(settings.initrd));
    machine::BootImage image{config.kernel, config.initrd, config.command_line};
    if (Result<void> good = machine::check_boot(image, config.memory_bytes); !good)
        return error("{}: {}", settings.kernel, good.error().message());
    return {};
}

/// The files of Debian's package ovmf: of its builds the one that is 64-bit code from the start.
Result<void> take_firmware(machine::MachineConfig& config) {
    auto read = [](std::string_view name) -> Result<Bytes> {
        Result<Bytes> bytes = host::read_file(fmt::format("/usr/share/OVMF/{}", name));
        if (!bytes) return error("{}; install the package ovmf on this host", bytes.error().message());
        return bytes;
    };
    config.firmware = TRY(read("OVMF_CODE.fd"));
    config.variables = TRY(read("OVMF_VARS.fd"));
    return {};
}

}  // namespace

Result<Bytes> RealMachineFactory::configure(const VmSettings& settings) {
    machine::MachineConfig config;
    config.start_time_ns = host::wall_clock_ns();  // first of all
    config.memory_bytes = settings.memory_bytes;
    VmSettings fixed = settings;
    TRY(fix_cpu_model(fixed));
    config.cpu = cpu_model(fixed);
    config.console = settings.console.port == ConsolePort::kVirtio;
    config.command_line = settings.command_line;
    TRY(settings.kernel.empty() ? take_firmware(config) : take_kernel(settings, config));
    if (config.kernel.size() + config.initrd.size() > kMostBootBytes)
        return error("{} and {} have {} MiB together, and {} are the most; make the initial RAM disk smaller",
                     settings.kernel, settings.initrd, (config.kernel.size() + config.initrd.size()) >> 20,
                     kMostBootBytes >> 20);
    for (const DiskSettings& disk : settings.disks)
        config.disks.push_back({TRY(host::DiskImage::size_of(disk.path)), disk.read_only, disk.serial});
    for (const NetworkSettings& network : settings.networks)
        config.networks.push_back({network.mac, network.offloads});
    Bytes bytes;
    ByteWriter out(bytes);
    config.save(out);
    return bytes;
}

Result<void> MachineFactory::check_fits(const SharedBytes&, const SharedBytes&) { return {}; }

// Kernel, command line and date are the snapshot's; what the guest meets on this host must be as it was.
Result<void> RealMachineFactory::check_fits(const SharedBytes& saved, const SharedBytes& wanted) {
    machine::MachineConfig was = TRY(machine::MachineConfig::load(saved));
    machine::MachineConfig is = TRY(machine::MachineConfig::load(wanted));
    auto differ = [](std::string_view what) {
        return error("the snapshot's machine has other {} than the configuration; make them alike", what);
    };
    if (was.memory_bytes != is.memory_bytes) return differ("memory");
    if (was.cpu != is.cpu) return differ("instructions (vm.cpu)");
    if (was.console != is.console) return differ("consoles");
    auto same_disk = [](const machine::DiskConfig& one, const machine::DiskConfig& other) {
        return one.size_bytes == other.size_bytes && one.read_only == other.read_only &&
               one.serial == other.serial;
    };
    auto same_network = [](const machine::NetworkConfig& one, const machine::NetworkConfig& other) {
        return one.mac == other.mac && one.offloads == other.offloads;
    };
    if (!std::ranges::equal(was.disks, is.disks, same_disk)) return differ("disks");
    if (!std::ranges::equal(was.networks, is.networks, same_network)) return differ("networks");
    return {};
}

Result<std::unique_ptr<machine::Machine>> RealMachineFactory::create(const SharedBytes& configuration,
                                                                     const translate::EngineOptions& options,
                                                                     bus::OutputSink& sink,
                                                                     uint64_t& ram_bytes) {
    machine::MachineConfig config = TRY(machine::MachineConfig::load(configuration));
    ram_bytes = config.memory_bytes;
    std::unique_ptr<machine::Machine> machine = TRY(machine::Machine::create(config, options, sink));
    if (options.perf_map) write_perf_map(*machine);
    return machine;
}

}  // namespace lockstep::vmm
