// SPDX-License-Identifier: Apache-2.0
#include "x86/cpuid.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "x86/control.h"
#include "x86/paging.h"

namespace lockstep::x86 {

namespace {

constexpr uint32_t bit(unsigned number) { return uint32_t{1} << number; }

constexpr uint32_t kSignature = 0x000206c2;  // family 6, model 44, stepping 2

constexpr uint32_t kLeaf1Ecx = bit(0)      // SSE3
                               | bit(1)    // PCLMULQDQ
                               | bit(9)    // SSSE3
                               | bit(13)   // CMPXCHG16B
                               | bit(17)   // PCID
                               | bit(19)   // SSE4.1
                               | bit(20)   // SSE4.2
                               | bit(21)   // x2APIC
                               | bit(22)   // MOVBE
                               | bit(23)   // POPCNT
                               | bit(24)   // TSC deadline
                               | bit(25)   // AES
                               | bit(26)   // XSAVE
                               | bit(31);  // a hypervisor is present
constexpr uint32_t kOsxsave = bit(27);

constexpr uint32_t kLeaf1Edx = bit(0)      // FPU
                               | bit(2)    // DE
                               | bit(3)    // PSE
                               | bit(4)    // TSC
                               | bit(5)    // MSR
                               | bit(6)    // PAE
                               | bit(8)    // CMPXCHG8B
                               | bit(9)    // APIC
                               | bit(11)   // SEP
                               | bit(12)   // MTRR
                               | bit(13)   // PGE
                               | bit(15)   // CMOV
                               | bit(16)   // PAT
                               | bit(17)   // PSE-36
                               | bit(19)   // CLFLUSH
                               | bit(23)   // MMX
                               | bit(24)   // FXSR
                               | bit(25)   // SSE
                               | bit(26);  // SSE2

// FSRM stays hidden: a short REP MOVSB costs more here than a few moves.
constexpr uint32_t kLeaf7Ebx = bit(0)      // FSGSBASE
                               | bit(1)    // IA32_TSC_ADJUST: with it Linux trusts the TSC
                               | bit(3)    // BMI1
                               | bit(8)    // BMI2
                               | bit(9)    // ERMS
                               | bit(10)   // INVPCID
                               | bit(19)   // ADX
                               | bit(29);  // SHA
constexpr uint32_t kLeaf7Edx = bit(26)     // IBRS, IBPB
                               | bit(29);  // IA32_ARCH_CAPABILITIES

constexpr uint32_t kExtended1Ecx = bit(0)      // LAHF in 64-bit mode
                                   | bit(5)    // LZCNT
                                   | bit(8);   // PREFETCHW
constexpr uint32_t kExtended1Edx = bit(11)     // SYSCALL
                                   | bit(20)   // NX
                                   | bit(26)   // 1 GiB pages
                                   | bit(27)   // RDTSCP
                                   | bit(29);  // long mode

constexpr uint32_t kFrequencyMhz = 1000;
constexpr std::string_view kHypervisorName = "LockstepLock";
constexpr std::string_view kBrand = "Lockstep virtual CPU";

uint32_t word(std::string_view text, size_t at) {
    uint32_t value = 0;
    if (at < text.size()) std::memcpy(&value, text.data() + at, std::min<size_t>(4, text.size() - at));
    return value;
}

/// A cache as leaf 4 describes it. type: 1 data, 2 instruction, 3 unified.
CpuidResult cache(unsigned type, unsigned level, unsigned ways, unsigned sets) {
    return {type | level << 5 | bit(8), (ways - 1) << 22 | (64 - 1), sets - 1, 0};
}

CpuidResult caches(uint32_t subleaf) {
    switch (subleaf) {
        case 0:
            return cache(1, 1, 8, 64);
        case 1:
            return cache(2, 1, 8, 64);
        case 2:
            return cache(3, 2, 16, 1024);
        case 3:
            return cache(3, 3, 16, 32768);
        default:
            return {};
    }
}

/// One thread in one core in one package.
CpuidResult topology(uint32_t subleaf) {
    if (subleaf == 0) return {0, 1, 1 << 8, 0};
    if (subleaf == 1) return {0, 1, 2 << 8 | 1, 0};
    return {0, 0, subleaf & 0xff, 0};
}

/// XSAVE in its plain form: no XSAVEOPT, XSAVEC, XSAVES nor a second register for XGETBV.
CpuidResult extended_state(uint32_t subleaf) {
    if (subleaf != 0) return {};
    return {kXcr0Valid, kXsaveAreaBytes, kXsaveAreaBytes, 0};
}

CpuidResult extended(uint32_t leaf) {
    switch (leaf) {
        case 0x80000000:
            return {kCpuidMaxExtended, 0, 0, 0};
        case 0x80000001:
            return {0, 0, kExtended1Ecx, kExtended1Edx};
        case 0x80000002:
        case 0x80000003:
        case 0x80000004: {
            size_t at = (leaf - 0x80000002) * 16;
            return {word(kBrand, at), word(kBrand, at + 4), word(kBrand, at + 8), word(kBrand, at + 12)};
        }
        case 0x80000006:
            return {0, 0, 1024 << 16 | 8 << 12 | 64, 0};  // L2: 1 MiB, 16 ways, lines of 64 bytes
        case 0x80000007:
            return {0, 0, 0, bit(8)};  // the TSC's rate never changes
        case 0x80000008:
            return {kVirtualBits << 8 | kPhysicalBits, 0, 0, 0};
        default:
            return {};
    }
}

CpuidResult basic(uint32_t leaf, uint32_t subleaf, uint64_t cr4) {
    switch (leaf) {
        case 0x00:
            return {kCpuidMaxBasic, word("Genu", 0), word("ntel", 0), word("ineI", 0)};
        case 0x01: {
            uint32_t ecx = kLeaf1Ecx | (cr4 & kCr4Osxsave ? kOsxsave : 0);
            return {kSignature, 1 << 16 | 8 << 8, ecx, kLeaf1Edx};  // one CPU, CLFLUSH lines of 8 quadwords
        }
        case 0x02:
            return {0x00feff01, 0, 0, 0};  // "see leaf 4"
        case 0x04:
            return caches(subleaf);
        case 0x06:
            return {bit(2), 0, 0, 0};  // the APIC timer never stops
        case 0x07:
            return subleaf == 0 ? CpuidResult{0, kLeaf7Ebx, 0, kLeaf7Edx} : CpuidResult{};
        case 0x0b:
            return topology(subleaf);
        case 0x0d:
            return extended_state(subleaf);
        case 0x15:
            return {1, 1, kFrequencyMhz * 1'000'000, 0};
        case 0x16:
            return {kFrequencyMhz, kFrequencyMhz, 100, 0};
        default:
            return {};
    }
}

}  // namespace

CpuidResult cpuid(uint32_t leaf, uint32_t subleaf, uint64_t cr4) {
    if (leaf >= 0x80000000 && leaf <= kCpuidMaxExtended) return extended(leaf);
    if (leaf == kCpuidHypervisor)
        return {kCpuidHypervisor, word(kHypervisorName, 0), word(kHypervisorName, 4),
                word(kHypervisorName, 8)};
    // Intel: a leaf beyond the last one answers as the last basic leaf.
    return basic(leaf <= kCpuidMaxBasic ? leaf : kCpuidMaxBasic, subleaf, cr4);
}

}  // namespace lockstep::x86
