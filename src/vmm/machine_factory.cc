#include "vmm/machine_factory.h"

#include "host/clock.h"
#include "host/disk_image.h"
#include "host/files.h"
#include "machine/boot.h"
#include "vmm/perf_map.h"

namespace lockstep::vmm {

Result<Bytes> RealMachineFactory::configure(const VmSettings& settings) {
    machine::MachineConfig config;
    config.memory_bytes = settings.memory_bytes;
    config.console = settings.console.port == ConsolePort::kVirtio;
    config.command_line = settings.command_line;
    config.start_time_s = host::wall_clock_s();
    config.kernel = TRY(host::read_file(settings.kernel));
    if (Result<void> good = machine::check_kernel(config.kernel); !good)
        return error("{}: {}", settings.kernel, good.error().message());
    if (!settings.initrd.empty()) config.initrd = TRY(host::read_file(settings.initrd));
    for (const DiskSettings& disk : settings.disks)
        config.disks.push_back({TRY(host::DiskImage::size_of(disk.path)), disk.read_only, disk.serial});
    for (const NetworkSettings& network : settings.networks)
        config.networks.push_back({network.mac, network.offloads});
    Bytes bytes;
    ByteWriter out(bytes);
    config.save(out);
    return bytes;
}

Result<std::unique_ptr<machine::Machine>> RealMachineFactory::create(ByteSpan configuration,
                                                                     const translate::EngineOptions& options,
                                                                     bus::OutputSink& sink,
                                                                     uint64_t& ram_bytes) {
    ByteReader in(configuration);
    machine::MachineConfig config = TRY(machine::MachineConfig::load(in));
    ram_bytes = config.memory_bytes;
    std::unique_ptr<machine::Machine> machine = TRY(machine::Machine::create(config, options, sink));
    if (options.perf_map) write_perf_map(*machine);
    return machine;
}

}  // namespace lockstep::vmm
