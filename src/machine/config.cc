// SPDX-License-Identifier: Apache-2.0
#include "machine/machine.h"

namespace lockstep::machine {

namespace {
constexpr uint32_t kWithKernel = 5, kWithFirmware = 6;
}

void MachineConfig::save(ByteWriter& out) const {
    out.varint(firmware.empty() ? kWithKernel : kWithFirmware);
    out.varint(memory_bytes);
    out.fixed(cpu);
    out.varint(disks.size());
    for (const DiskConfig& disk : disks) {
        out.varint(disk.size_bytes);
        out.fixed(disk.read_only);
        out.text(disk.serial);
    }
    out.varint(networks.size());
    for (const NetworkConfig& network : networks) {
        out.raw(network.mac);
        out.fixed(network.offloads);
    }
    out.fixed(console);
    out.blob(kernel);
    out.blob(initrd);
    out.text(command_line);
    out.varint(start_time_ns);
    if (firmware.empty()) return;
    out.blob(firmware);
    out.blob(variables);
}

Result<MachineConfig> MachineConfig::load(const SharedBytes& encoded) {
    ByteReader in(encoded);
    uint64_t version = in.varint();
    if (version != kWithKernel && version != kWithFirmware)
        return error("the machine's configuration has version {}, this program reads version {} and {}",
                     version, kWithKernel, kWithFirmware);
    MachineConfig config;
    config.memory_bytes = in.varint();
    auto model = in.fixed<uint8_t>();
    if (model >= std::size(x86::kCpuModelNames))
        return error("the machine's configuration names CPU model {}, which this program doesn't know",
                     model);
    config.cpu = static_cast<x86::CpuModel>(model);
    for (uint64_t count = in.varint(); count > 0 && in.ok(); --count) {
        DiskConfig& disk = config.disks.emplace_back();
        disk.size_bytes = in.varint();
        disk.read_only = in.fixed<uint8_t>();
        disk.serial = in.text();
    }
    for (uint64_t count = in.varint(); count > 0 && in.ok(); --count) {
        ByteSpan mac = in.raw(6);
        NetworkConfig& network = config.networks.emplace_back();
        std::copy(mac.begin(), mac.end(), network.mac.begin());
        network.offloads = in.fixed<uint8_t>();
    }
    config.console = in.fixed<uint8_t>();
    config.kernel = encoded.sharing(in.blob());
    config.initrd = encoded.sharing(in.blob());
    config.command_line = in.text();
    config.start_time_ns = in.varint();
    if (version == kWithFirmware) {
        config.firmware = encoded.sharing(in.blob());
        config.variables = encoded.sharing(in.blob());
    }
    if (!in.ok()) return error("the machine's configuration is cut short or damaged");
    return config;
}

}  // namespace lockstep::machine
