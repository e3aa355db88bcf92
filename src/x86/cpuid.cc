// SPDX-License-Identifier: Apache-2.0
#include "x86/cpuid.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "x86/control.h"
#include "x86/features.h"
#include "x86/paging.h"

namespace lockstep::x86 {

namespace {

constexpr uint32_t bit(unsigned number) { return uint32_t{1} << number; }

constexpr uint32_t kSignature = 0x000206c2;  // family 6, model 44, stepping 2

constexpr uint32_t kOsxsave = bit(27);

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
CpuidResult extended_state(const CpuidSource& source, uint32_t subleaf) {
    uint64_t valid = xcr0_of(source.model);
    if (subleaf == 0)
        return {static_cast<uint32_t>(valid), xsave_area_bytes(source.xcr0), xsave_area_bytes(valid), 0};
    if (subleaf == 2 && (valid & kXcr0Avx)) return {kXsaveAvxBytes, kXsaveLegacyBytes, 0, 0};
    return {};
}

CpuidResult extended(CpuModel model, uint32_t leaf) {
    switch (leaf) {
        case 0x80000000:
            return {kCpuidMaxExtended, 0, 0, 0};
        case 0x80000001:
            return {0, 0, cpuid_bits(model, leaf, CpuidRegister::kEcx),
                    cpuid_bits(model, leaf, CpuidRegister::kEdx)};
        case 0x80000002:
        case 0x80000003:
        case 0x80000004: {
            size_t at = (leaf - 0x80000002) * 16;
            return {word(kBrand, at), word(kBrand, at + 4), word(kBrand, at + 8), word(kBrand, at + 12)};
        }
        case 0x80000006:
            return {0, 0, 1024 << 16 | 8 << 12 | 64, 0};  // L2: 1 MiB, 16 ways, lines of 64 bytes
        case 0x80000007:
            return {0, 0, 0, cpuid_bits(model, leaf, CpuidRegister::kEdx)};
        case 0x80000008:
            return {kVirtualBits << 8 | kPhysicalBits, 0, 0, 0};
        default:
            return {};
    }
}

CpuidResult basic(const CpuidSource& source, uint32_t leaf, uint32_t subleaf) {
    auto bits = [&](CpuidRegister which) { return cpuid_bits(source.model, leaf, which); };
    switch (leaf) {
        case 0x00:
            return {kCpuidMaxBasic, word("Genu", 0), word("ntel", 0), word("ineI", 0)};
        case 0x01: {
            uint32_t ecx = bits(CpuidRegister::kEcx) | (source.cr4 & kCr4Osxsave ? kOsxsave : 0);
            // one CPU, CLFLUSH lines of 8 quadwords
            return {kSignature, 1 << 16 | 8 << 8, ecx, bits(CpuidRegister::kEdx)};
        }
        case 0x02:
            return {0x00feff01, 0, 0, 0};  // "see leaf 4"
        case 0x04:
            return caches(subleaf);
        case 0x06:
            return {bit(2), 0, 0, 0};  // the APIC timer never stops
        case 0x07:
            return subleaf == 0 ? CpuidResult{0, bits(CpuidRegister::kEbx), 0, bits(CpuidRegister::kEdx)}
                                : CpuidResult{};
        case 0x0b:
            return topology(subleaf);
        case 0x0d:
            return extended_state(source, subleaf);
        case 0x15:
            return {1, 1, kFrequencyMhz * 1'000'000, 0};
        case 0x16:
            return {kFrequencyMhz, kFrequencyMhz, 100, 0};
        default:
            return {};
    }
}

}  // namespace

CpuidResult cpuid(const CpuidSource& source, uint32_t leaf, uint32_t subleaf) {
    if (leaf >= 0x80000000 && leaf <= kCpuidMaxExtended) return extended(source.model, leaf);
    if (leaf == kCpuidHypervisor)
        return {kCpuidHypervisor, word(kHypervisorName, 0), word(kHypervisorName, 4),
                word(kHypervisorName, 8)};
    // Intel: a leaf beyond the last one answers as the last basic leaf.
    return basic(source, leaf <= kCpuidMaxBasic ? leaf : kCpuidMaxBasic, subleaf);
}

}  // namespace lockstep::x86
