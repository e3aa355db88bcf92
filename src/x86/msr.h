// SPDX-License-Identifier: Apache-2.0
// Numbers of model-specific registers, and the bits that this CPU shows in IA32_ARCH_CAPABILITIES.
#pragma once

#include <cstdint>

namespace lockstep::x86 {

inline constexpr uint32_t kMsrTsc = 0x10, kMsrPlatformId = 0x17, kMsrApicBase = 0x1b, kMsrPowerOn = 0x2a,
                          kMsrTscAdjust = 0x3b, kMsrSpecCtrl = 0x48, kMsrPredCmd = 0x49,
                          kMsrBiosSignature = 0x8b, kMsrMtrrCap = 0xfe, kMsrArchCapabilities = 0x10a,
                          kMsrSysenterCs = 0x174, kMsrSysenterEsp = 0x175, kMsrSysenterEip = 0x176,
                          kMsrMcgCap = 0x179, kMsrMcgStatus = 0x17a, kMsrMiscEnable = 0x1a0,
                          kMsrDebugCtl = 0x1d9, kMsrPat = 0x277, kMsrMtrrDefType = 0x2ff,
                          kMsrTscDeadline = 0x6e0, kMsrX2apicFirst = 0x800, kMsrX2apicLast = 0x8ff,
                          kMsrEfer = 0xc0000080, kMsrStar = 0xc0000081, kMsrLstar = 0xc0000082,
                          kMsrCstar = 0xc0000083, kMsrSfmask = 0xc0000084, kMsrFsBase = 0xc0000100,
                          kMsrGsBase = 0xc0000101, kMsrKernelGsBase = 0xc0000102, kMsrTscAux = 0xc0000103;

/// IA32_ARCH_CAPABILITIES: this CPU has none of the speculation flaws that a kernel would work around, since
/// the translator's guest never runs on the bare CPU. With it Linux needs no page-table isolation and no
/// retpolines.
inline constexpr uint64_t kArchCapabilities = uint64_t{1} << 0      // RDCL_NO
                                              | uint64_t{1} << 1    // IBRS_ALL
                                              | uint64_t{1} << 3    // SKIP_L1DFL_VMENTRY
                                              | uint64_t{1} << 4    // SSB_NO
                                              | uint64_t{1} << 5    // MDS_NO
                                              | uint64_t{1} << 6    // PSCHANGE_MC_NO
                                              | uint64_t{1} << 8    // TAA_NO
                                              | uint64_t{1} << 13   // SBDR_SSDP_NO
                                              | uint64_t{1} << 14   // FBSDP_NO
                                              | uint64_t{1} << 15   // PSDP_NO
                                              | uint64_t{1} << 20   // BHI_NO
                                              | uint64_t{1} << 24   // PBRSB_NO
                                              | uint64_t{1} << 26   // GDS_NO
                                              | uint64_t{1} << 27   // RFDS_NO
                                              | uint64_t{1} << 62;  // ITS_NO

inline constexpr uint64_t kSpecCtrlValid = 7;      // IBRS, STIBP, SSBD
inline constexpr uint64_t kMicrocodeRevision = 1;  // IA32_BIOS_SIGN_ID, upper half
inline constexpr uint64_t kMtrrDefTypeValid = 0xcff;

}  // namespace lockstep::x86
