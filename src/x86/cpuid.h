// SPDX-License-Identifier: Apache-2.0
// The CPUID model: what the guest is told about its CPU. Fixed tables, the same on every host; the features are those
// of features.inc.
//
// Family 6, model 44 (Westmere): the newest model that software knows to have SSE4.2 and AES but no AVX.
// glibc picks its unaligned and REP string functions for it, and Linux probes no model-specific registers on
// it. What came later without new registers (BMI, ADX, SHA) is added to it, and XSAVE for the registers that
// there are: OpenSSL takes ADX for usable only beside it. x86-64-v3 adds AVX, AVX2, FMA and F16C under the same number,
// since software goes by the bits. Hidden: AVX-512, which differs most between hosts, RDRAND and RDSEED
// (non-deterministic), MONITOR, machine checks, performance counters.
//
// Time: leaf 0x15 says a crystal of 1 GHz and a TSC of the same frequency, so Linux calibrates nothing. Linux
// takes the crystal's frequency for that of the local APIC timer too: its count rate before the divider is 1
// GHz.
#pragma once

#include <cstdint>

#include "x86/features.h"

namespace lockstep::x86 {

struct CpuidResult {
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
    bool operator==(const CpuidResult&) const = default;
};

/// What the answer depends on.
struct CpuidSource {
    CpuModel model = CpuModel::kV2;
    uint64_t cr4 = 0;   ///< OSXSAVE
    uint64_t xcr0 = 1;  ///< how large XSAVE's area is
};

/// CPUID with `leaf` in EAX and `subleaf` in ECX.
CpuidResult cpuid(const CpuidSource& source, uint32_t leaf, uint32_t subleaf);

inline constexpr uint32_t kCpuidMaxBasic = 0x16, kCpuidHypervisor = 0x40000000,
                          kCpuidMaxExtended = 0x80000008;

}  // namespace lockstep::x86
