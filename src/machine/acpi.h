// SPDX-License-Identifier: Apache-2.0
// The ACPI tables that tell a kernel what the machine is made of (ACPI specification 6.4, 5.2).
#pragma once

#include <vector>

#include "base/bytes.h"
#include "base/strong.h"

namespace lockstep::machine {

/// Where the tables lie: in the BIOS area, which the memory map reserves. The root pointer is at its start.
inline constexpr GuestPhys kAcpiStart{0xe0000};
inline constexpr uint64_t kAcpiSize = 0x10000;

/// All tables but the root pointer, for where they lie from `base` on.
struct AcpiTables {
    struct Area {
        uint32_t start, size;
    };
    Bytes tables;
    std::vector<Area> pointers;   ///< what depends on `base`
    std::vector<Area> checksums;  ///< tables that hold such pointers
    uint64_t root_table = 0;      ///< where the XSDT is in `tables`
};
AcpiTables make_acpi_tables(uint64_t base);
Bytes make_acpi_root(uint64_t root_table);

/// Root pointer and tables, as they lie from kAcpiStart on.
Bytes acpi_tables();

}  // namespace lockstep::machine
