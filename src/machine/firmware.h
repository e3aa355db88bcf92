// SPDX-License-Identifier: Apache-2.0
// What firmware is told of the machine: memory, processors, ACPI tables and how to place them.
#pragma once

#include "devices/firmware/fw_cfg.h"
#include "memory/guest_memory.h"

namespace lockstep::machine {

/// Fills the device that firmware asks.
void describe_machine(devices::FirmwareConfig& config, const memory::GuestMemory& memory);

}  // namespace lockstep::machine
