// SPDX-License-Identifier: Apache-2.0
// Four-level paging: entry bits and reserved bits (Intel SDM vol. 3, 4.5), and linear addresses.
#pragma once

#include <cstdint>

namespace lockstep::x86 {

/// Physical address bits of this CPU (CPUID 0x80000008).
inline constexpr unsigned kPhysicalBits = 46;
inline constexpr unsigned kVirtualBits = 48;

inline constexpr uint64_t kPtePresent = 1 << 0, kPteWritable = 1 << 1, kPteUser = 1 << 2,
                          kPteAccessed = 1 << 5, kPteDirty = 1 << 6, kPteLarge = 1 << 7, kPteGlobal = 1 << 8,
                          kPteNoExecute = uint64_t{1} << 63;
/// The address field of an entry that points to a table or a 4 KiB page.
inline constexpr uint64_t kPteAddress = ((uint64_t{1} << kPhysicalBits) - 1) & ~uint64_t{0xfff};
/// Address bits that this CPU doesn't have.
inline constexpr uint64_t kPteBeyondPhysical =
    ((uint64_t{1} << 52) - 1) & ~((uint64_t{1} << kPhysicalBits) - 1);

/// Levels of the tables: 3 is the PML4, 0 the page table. An entry of level n maps 2^level_shift(n) bytes.
inline constexpr unsigned kTopLevel = 3;
constexpr unsigned level_shift(unsigned level) { return 12 + 9 * level; }
constexpr unsigned level_index(uint64_t linear, unsigned level) { return linear >> level_shift(level) & 511; }

/// Whether an entry of `level` maps a page rather than pointing to a table.
constexpr bool maps_page(uint64_t entry, unsigned level) {
    return level == 0 || ((level == 1 || level == 2) && (entry & kPteLarge));
}

/// The bits that must be zero in a present entry of `level`, where EFER.NXE is on.
constexpr uint64_t reserved_bits(uint64_t entry, unsigned level) {
    if (level == 3) return kPteBeyondPhysical | kPteLarge;
    if (level == 0 || !(entry & kPteLarge)) return kPteBeyondPhysical;
    return kPteBeyondPhysical | (((uint64_t{1} << level_shift(level)) - 1) & ~uint64_t{0x1fff});
}

constexpr bool is_canonical(uint64_t linear) {
    return static_cast<uint64_t>(static_cast<int64_t>(linear << (64 - kVirtualBits)) >>
                                 (64 - kVirtualBits)) == linear;
}

// Page-fault error code (Intel SDM vol. 3, 4.7)
inline constexpr uint32_t kPfPresent = 1, kPfWrite = 2, kPfUser = 4, kPfReserved = 8, kPfFetch = 16;

}  // namespace lockstep::x86
