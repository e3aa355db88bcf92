// SPDX-License-Identifier: Apache-2.0
// Starts a Linux kernel by the 64-bit boot protocol (Linux, Documentation/arch/x86/boot.rst), as a boot
// loader would.
//
// What lies where in low memory:
//
//     00500  descriptor table        10000  boot parameters ("zero page")
//     09000  page tables             20000  command line
//     e0000  ACPI tables
//
// The kernel is loaded at the address that it prefers, the initrd as high below 3 GiB as the kernel allows.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "base/strong.h"
#include "memory/guest_memory.h"

namespace lockstep::machine {

/// What the boot loader leaves in the processor, beside the fixed state of 64-bit mode.
struct BootEntry {
    GuestPhys start;       ///< the first instruction
    GuestPhys parameters;  ///< for RSI
    GuestPhys page_table;  ///< for CR3: the first 4 GiB, one to one
    GuestPhys descriptors;
    uint16_t descriptors_size = 0;
    uint16_t code_selector = 0;
    uint16_t data_selector = 0;
};

struct BootImage {
    ByteSpan kernel;  ///< bzImage
    ByteSpan initrd;  ///< may be empty
    std::string command_line;
};

/// Whether `image` can be started by a machine with `ram_bytes` of memory. The errors name what is wrong with
/// the kernel, the command line or that the memory is too small.
Result<void> check_boot(const BootImage& image, uint64_t ram_bytes);

/// Writes everything into `memory`. The errors are those of check_boot().
Result<BootEntry> load_linux(memory::GuestMemory& memory, const BootImage& image);

}  // namespace lockstep::machine
