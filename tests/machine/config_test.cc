// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "machine/machine.h"

namespace lockstep::machine {
namespace {

MachineConfig full_config() {
    MachineConfig config;
    config.memory_bytes = 64 << 20;
    config.disks = {{1 << 20, true, "one"}, {2 << 20, false, ""}};
    config.networks = {{{2, 0, 0, 0, 0, 1}, true}, {{2, 0, 0, 0, 0, 2}, false}};
    config.cpu = x86::CpuModel::kV3;
    config.console = false;
    config.kernel = Bytes{1, 2, 3};
    config.initrd = Bytes{4, 5};
    config.command_line = "console=ttyS0";
    config.start_time_ns = 1'700'000'000'000'000'123;
    return config;
}

MachineConfig with_firmware() {
    MachineConfig config = full_config();
    config.kernel = config.initrd = SharedBytes();
    config.firmware = Bytes{6, 7, 8};
    config.variables = Bytes{9};
    return config;
}

Bytes bytes_of(const MachineConfig& config) {
    Bytes bytes;
    ByteWriter out(bytes);
    config.save(out);
    return bytes;
}

TEST(MachineConfig, SavedAndLoadedIsTheSame) {
    Bytes bytes = bytes_of(full_config());
    Result<MachineConfig> config = MachineConfig::load(bytes);
    ASSERT_TRUE(config.ok());
    EXPECT_EQ(bytes_of(config.value()), bytes);
    EXPECT_EQ(config.value().disks[0].serial, "one");
    EXPECT_TRUE(config.value().disks[0].read_only);
    EXPECT_EQ(config.value().networks[1].mac[5], 2);
    EXPECT_TRUE(config.value().networks[0].offloads);
    EXPECT_FALSE(config.value().networks[1].offloads);
    EXPECT_EQ(config.value().cpu, x86::CpuModel::kV3);
    EXPECT_FALSE(config.value().console);
    EXPECT_EQ(config.value().command_line, "console=ttyS0");
}

TEST(MachineConfig, FirmwareAndItsVariablesBelongToIt) {
    Bytes bytes = bytes_of(with_firmware());
    Result<MachineConfig> config = MachineConfig::load(bytes);
    ASSERT_TRUE(config.ok());
    EXPECT_EQ(bytes_of(config.value()), bytes);
    EXPECT_TRUE(std::ranges::equal(config.value().firmware.span(), Bytes{6, 7, 8}));
    EXPECT_TRUE(std::ranges::equal(config.value().variables.span(), Bytes{9}));
    EXPECT_TRUE(config.value().kernel.empty());
}

TEST(MachineConfig, CutOrForeignBytesAreRefused) {
    for (const MachineConfig& whole : {full_config(), with_firmware()}) {
        Bytes bytes = bytes_of(whole);
        for (size_t size = 0; size < bytes.size(); ++size) {
            EXPECT_FALSE(MachineConfig::load(Bytes(bytes.begin(), bytes.begin() + size)).ok()) << size;
        }
        bytes[0] = 99;
        EXPECT_FALSE(MachineConfig::load(bytes).ok());
    }
}

}  // namespace
}  // namespace lockstep::machine
