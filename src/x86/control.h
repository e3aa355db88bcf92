// SPDX-License-Identifier: Apache-2.0
// Bits of the control registers and of EFER (Intel SDM vol. 3, 2.5 and 2.2.1), and which of them this CPU
// has.
#pragma once

#include <cstdint>

namespace lockstep::x86 {

inline constexpr uint64_t kCr0Pe = 1 << 0, kCr0Mp = 1 << 1, kCr0Em = 1 << 2, kCr0Ts = 1 << 3, kCr0Et = 1 << 4,
                          kCr0Ne = 1 << 5, kCr0Wp = 1 << 16, kCr0Am = 1 << 18, kCr0Nw = 1 << 29,
                          kCr0Cd = 1 << 30, kCr0Pg = 1u << 31;
inline constexpr uint64_t kCr0Valid =
    kCr0Pe | kCr0Mp | kCr0Em | kCr0Ts | kCr0Et | kCr0Ne | kCr0Wp | kCr0Am | kCr0Nw | kCr0Cd | kCr0Pg;

inline constexpr uint64_t kCr4Tsd = 1 << 2, kCr4De = 1 << 3, kCr4Pse = 1 << 4, kCr4Pae = 1 << 5,
                          kCr4Pge = 1 << 7, kCr4Pce = 1 << 8, kCr4Osfxsr = 1 << 9, kCr4Osxmmexcpt = 1 << 10,
                          kCr4Fsgsbase = 1 << 16, kCr4Pcide = 1 << 17, kCr4Osxsave = 1 << 18;
/// The bits that the CPUID model offers; setting any other is a general protection fault.
inline constexpr uint64_t kCr4Valid = kCr4Tsd | kCr4De | kCr4Pse | kCr4Pae | kCr4Pge | kCr4Pce | kCr4Osfxsr |
                                      kCr4Osxmmexcpt | kCr4Fsgsbase | kCr4Pcide | kCr4Osxsave;

/// XCR0, the state components that XSAVE manages (Intel SDM vol. 1, 13.3). Which of them there are: features.h.
inline constexpr uint64_t kXcr0X87 = 1 << 0, kXcr0Sse = 1 << 1, kXcr0Avx = 1 << 2;
/// The area that XSAVE writes: the legacy region and the header, and behind them the upper halves of the YMM registers.
inline constexpr uint32_t kXsaveLegacyBytes = 576, kXsaveAvxBytes = 256;

/// Bytes of the area for the components `xcr0`.
constexpr uint32_t xsave_area_bytes(uint64_t xcr0) {
    return kXsaveLegacyBytes + (xcr0 & kXcr0Avx ? kXsaveAvxBytes : 0);
}

inline constexpr uint64_t kEferSce = 1 << 0, kEferLme = 1 << 8, kEferLma = 1 << 10, kEferNxe = 1 << 11;
inline constexpr uint64_t kEferValid = kEferSce | kEferLme | kEferLma | kEferNxe;

/// MOV to CR3 with CR4.PCIDE: the translations of the new PCID are kept.
inline constexpr uint64_t kCr3Keep = uint64_t{1} << 63;
inline constexpr uint64_t kPcidMask = 0xfff;

// DR6 and DR7 (Intel SDM vol. 3, 18.2.3 and 18.2.4)
inline constexpr uint64_t kDr6Fixed = 0xffff0ff0, kDr6Writable = 0xe00f, kDr6Breakpoints = 15,
                          kDr6Bd = 1 << 13, kDr6Bs = 1 << 14;
inline constexpr uint64_t kDr7Fixed = 0x400, kDr7Writable = 0xffff23ff, kDr7Gd = 1 << 13;

}  // namespace lockstep::x86
