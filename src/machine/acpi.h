// SPDX-License-Identifier: Apache-2.0
// The ACPI tables that tell a kernel what the machine is made of (ACPI specification 6.4, 5.2).
#pragma once

#include "base/bytes.h"
#include "base/strong.h"

namespace lockstep::machine {

/// Where the tables lie: in the BIOS area, which the memory map reserves. The root pointer is at its start.
inline constexpr GuestPhys kAcpiStart{0xe0000};
inline constexpr uint64_t kAcpiSize = 0x10000;

/// All tables, as they lie from kAcpiStart on.
Bytes acpi_tables();

}  // namespace lockstep::machine
