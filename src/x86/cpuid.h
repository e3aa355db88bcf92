// SPDX-License-Identifier: Apache-2.0
// The CPUID model: what the guest is told about its CPU. A fixed table, the same on every host.
//
// Family 6, model 44 (Westmere): the newest model that software knows to have SSE4.2 and AES but no AVX.
// glibc picks its unaligned and REP string functions for it, and Linux probes no model-specific registers on
// it. What came later without new registers (BMI, ADX, SHA) is added to it, and XSAVE for the registers that
// there are: OpenSSL takes ADX for usable only beside it. Hidden: AVX, RDRAND and RDSEED (non-deterministic),
// MONITOR, machine checks, performance counters.
//
// Time: leaf 0x15 says a crystal of 1 GHz and a TSC of the same frequency, so Linux calibrates nothing. Linux
// takes the crystal's frequency for that of the local APIC timer too: its count rate before the divider is 1
// GHz.
#pragma once

#include <cstdint>

namespace lockstep::x86 {

struct CpuidResult {
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
    bool operator==(const CpuidResult&) const = default;
};

/// CPUID with `leaf` in EAX and `subleaf` in ECX. `cr4` decides OSXSAVE.
CpuidResult cpuid(uint32_t leaf, uint32_t subleaf, uint64_t cr4);

inline constexpr uint32_t kCpuidMaxBasic = 0x16, kCpuidHypervisor = 0x40000000,
                          kCpuidMaxExtended = 0x80000008;

}  // namespace lockstep::x86
