// SPDX-License-Identifier: Apache-2.0
#include "host/host_cpu.h"

#include <cpuid.h>
#include <elf.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/bytes.h"
#include "host/arithmetic_probe.h"
#include "host/files.h"
#include "x86/features.h"

namespace lockstep::host {

namespace {

constexpr uint64_t kXcr0SseAndAvx = 0b110;

struct Cpuid {
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;

    /// All zero where the processor has no such leaf.
    static Cpuid read(uint32_t leaf, uint32_t subleaf) {
        Cpuid result;
        __get_cpuid_count(leaf, subleaf, &result.eax, &result.ebx, &result.ecx, &result.edx);
        return result;
    }
    uint32_t of(x86::CpuidRegister which) const {
        switch (which) {
            case x86::CpuidRegister::kEax:
                return eax;
            case x86::CpuidRegister::kEbx:
                return ebx;
            case x86::CpuidRegister::kEcx:
                return ecx;
            case x86::CpuidRegister::kEdx:
                return edx;
        }
        return 0;
    }
};

std::string register_text(std::initializer_list<uint32_t> registers) {
    std::string text;
    for (uint32_t value : registers) text.append(reinterpret_cast<const char*>(&value), sizeof value);
    return text.c_str();  // up to the first zero
}

/// Whether the operating system saves the AVX registers (Intel SDM vol. 1, 13.2).
bool avx_enabled() {
    constexpr uint32_t kOsxsave = 1u << 27;
    if (!(Cpuid::read(1, 0).ecx & kOsxsave)) return false;
    uint32_t low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & kXcr0SseAndAvx) == kXcr0SseAndAvx;
}

record::CpuFeatureSet features() {
    bool avx = avx_enabled();
    record::CpuFeatureSet found;
    for (const x86::FeatureRow& feature : x86::kFeatures) {
        if (feature.identity_bit == x86::kNoIdentity) continue;
        bool present = Cpuid::read(feature.leaf, 0).of(feature.cpuid_register) >> feature.bit & 1;
        bool needs_avx = feature.component == x86::Component::kAvx;
        if (present && (avx || !needs_avx)) found.bits |= uint64_t{1} << feature.identity_bit;
    }
    return found;
}

/// Intel SDM vol. 1, 11.6.6: a mask of 0 in the FXSAVE image stands for 0xffbf.
uint32_t mxcsr_mask() {
    alignas(16) std::array<uint8_t, 512> image{};
    asm volatile("fxsave %0" : "=m"(image));
    uint32_t mask;
    std::memcpy(&mask, &image[28], sizeof mask);
    return mask ? mask : 0xffbf;
}

constexpr size_t kNoteAlignment = 4;
size_t aligned(size_t size) { return (size + kNoteAlignment - 1) & ~(kNoteAlignment - 1); }

/// The build ID among a segment's notes (System V ABI, "Note Section"); empty: it isn't there.
ByteSpan build_id_among(ByteSpan notes) {
    ElfW(Nhdr) note;
    while (notes.size() >= sizeof note) {
        std::memcpy(&note, notes.data(), sizeof note);
        size_t content = sizeof note + aligned(note.n_namesz);
        if (note.n_type == NT_GNU_BUILD_ID) return notes.subspan(content, note.n_descsz);
        notes = notes.subspan(std::min(notes.size(), content + aligned(note.n_descsz)));
    }
    return {};
}

/// What the linker has hashed this program to.
ByteSpan own_build_id() {
    ByteSpan id;
    auto look_at_program = [](dl_phdr_info* info, size_t, void* found) {
        for (const ElfW(Phdr) & header : std::span(info->dlpi_phdr, info->dlpi_phnum)) {
            if (header.p_type != PT_NOTE) continue;
            ByteSpan notes(reinterpret_cast<const uint8_t*>(info->dlpi_addr + header.p_vaddr),
                           header.p_memsz);
            if (ByteSpan content = build_id_among(notes); !content.empty())
                *static_cast<ByteSpan*>(found) = content;
        }
        return 1;  // the first is the program itself, the rest are libraries
    };
    ::dl_iterate_phdr(look_at_program, &id);
    return id;
}

}  // namespace

record::CpuIdentity host_cpu_identity() {
    Cpuid maker = Cpuid::read(0, 0);
    uint32_t signature = Cpuid::read(1, 0).eax;
    record::CpuIdentity identity;
    identity.vendor = register_text({maker.ebx, maker.edx, maker.ecx});
    // Intel SDM vol. 2, CPUID: the extended family counts beyond family 15, the extended model beyond 6
    // and 15.
    uint32_t family = signature >> 8 & 0xf, model = signature >> 4 & 0xf;
    identity.family = family == 0xf ? family + (signature >> 20 & 0xff) : family;
    identity.model = family == 0xf || family == 6 ? model | (signature >> 12 & 0xf0) : model;
    identity.features = features();
    identity.mxcsr_mask = mxcsr_mask();
    identity.arithmetic = probe_arithmetic();
    return identity;
}

std::string host_cpu_brand() {
    std::string brand;
    for (uint32_t leaf : {0x80000002u, 0x80000003u, 0x80000004u}) {
        Cpuid part = Cpuid::read(leaf, 0);
        for (uint32_t value : {part.eax, part.ebx, part.ecx, part.edx})
            brand.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    brand.erase(std::find(brand.begin(), brand.end(), '\0'), brand.end());
    size_t first = brand.find_first_not_of(' ');
    return first == std::string::npos ? "unknown processor"
                                      : brand.substr(first, brand.find_last_not_of(' ') + 1 - first);
}

Result<record::BuildIdentity> own_build_identity(std::string_view version) {
    ByteSpan id = own_build_id();
    if (id.empty())
        return error("this program was linked without a build ID; build it as README.md says (--build-id)");
    return record::BuildIdentity::of_executable(version, id);
}

}  // namespace lockstep::host
