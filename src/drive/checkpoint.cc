// SPDX-License-Identifier: Apache-2.0
#include "drive/checkpoint.h"

#include <algorithm>

#include "base/hash.h"

namespace lockstep::drive {

record::StateHashMark make_checkpoint(machine::Machine& machine, uint64_t ram_bytes, HashScope scope) {
    machine::StateHash hash;
    if (scope == HashScope::kAll) {
        hash = machine.hash();
    } else {
        uint64_t icount = machine.icount().value();
        uint64_t slices = std::max<uint64_t>(1, ram_bytes / kSliceBytes);
        uint64_t slice = hash64({reinterpret_cast<const uint8_t*>(&icount), sizeof icount}) % slices;
        uint64_t start = slice * kSliceBytes;
        hash = machine.hash_part(start, std::min(kSliceBytes, ram_bytes - start));
    }
    return {.registers = hash.registers,
            .devices = hash.devices,
            .has_memory = scope == HashScope::kAll,
            .memory = hash.memory};
}

uint8_t differing_parts(const record::StateHashMark& recorded, const record::StateHashMark& ours) {
    unsigned parts = 0;
    if (recorded.registers != ours.registers) parts |= record::kRegistersDiffer;
    if (recorded.memory != ours.memory) parts |= record::kMemoryDiffers;
    if (recorded.devices != ours.devices) parts |= record::kDevicesDiffer;
    return static_cast<uint8_t>(parts);
}

std::string parts_text(uint8_t parts) {
    std::string text;
    auto add = [&text](const char* name) { text += (text.empty() ? "" : " and ") + std::string(name); };
    if (parts & record::kRegistersDiffer) add("registers");
    if (parts & record::kMemoryDiffers) add("memory");
    if (parts & record::kDevicesDiffer) add("devices");
    return text.empty() ? "nothing" : text;
}

}  // namespace lockstep::drive
