// SPDX-License-Identifier: Apache-2.0
// The instruction-set extensions of the CPUID model (x86/cpuid.h) whose instructions are executed natively, as
// the decoder names them.
#pragma once

#include <Zydis/Zydis.h>

#include <array>
#include <cstdint>

namespace lockstep::translate {

enum class ExtensionRegisters : uint8_t {
    kNotOffered,
    kGeneral,
    kFpu /**< x87, MMX or XMM: CR0.TS guards them */
};

struct OfferedExtension {
    ZydisISAExt extension;
    ExtensionRegisters registers;
};

inline constexpr OfferedExtension kOfferedExtensions[] = {
    {ZYDIS_ISA_EXT_BASE, ExtensionRegisters::kGeneral},
    {ZYDIS_ISA_EXT_LONGMODE, ExtensionRegisters::kGeneral},
    {ZYDIS_ISA_EXT_X87, ExtensionRegisters::kFpu},
    {ZYDIS_ISA_EXT_MMX, ExtensionRegisters::kFpu},
    {ZYDIS_ISA_EXT_SSE, ExtensionRegisters::kFpu},
    {ZYDIS_ISA_EXT_SSE2, ExtensionRegisters::kFpu},
    {ZYDIS_ISA_EXT_SSE3, ExtensionRegisters::kFpu},
    {ZYDIS_ISA_EXT_SSSE3, ExtensionRegisters::kFpu},
    {ZYDIS_ISA_EXT_SSE4, ExtensionRegisters::kFpu},
    {ZYDIS_ISA_EXT_AES, ExtensionRegisters::kFpu},
    {ZYDIS_ISA_EXT_PCLMULQDQ, ExtensionRegisters::kFpu},
    {ZYDIS_ISA_EXT_SHA, ExtensionRegisters::kFpu},
    {ZYDIS_ISA_EXT_BMI1, ExtensionRegisters::kGeneral},
    {ZYDIS_ISA_EXT_BMI2, ExtensionRegisters::kGeneral},
    {ZYDIS_ISA_EXT_ADOX_ADCX, ExtensionRegisters::kGeneral},
    {ZYDIS_ISA_EXT_LZCNT, ExtensionRegisters::kGeneral},
    {ZYDIS_ISA_EXT_MOVBE, ExtensionRegisters::kGeneral},
    {ZYDIS_ISA_EXT_PAUSE, ExtensionRegisters::kGeneral},
    {ZYDIS_ISA_EXT_CLFSH, ExtensionRegisters::kGeneral},
    {ZYDIS_ISA_EXT_AMD3DNOW_PREFETCH, ExtensionRegisters::kGeneral},
    {ZYDIS_ISA_EXT_PREFETCHWT1, ExtensionRegisters::kGeneral},
};

/// Which registers the instructions of an extension work on, as far as it is offered.
constexpr ExtensionRegisters registers_of(ZydisISAExt extension) {
    constexpr auto kByExtension = [] {
        std::array<ExtensionRegisters, ZYDIS_ISA_EXT_MAX_VALUE + 1> table{};
        for (const OfferedExtension& row : kOfferedExtensions) table[row.extension] = row.registers;
        return table;
    }();
    return kByExtension[extension];
}

constexpr bool is_offered(ZydisISAExt extension) {
    return registers_of(extension) != ExtensionRegisters::kNotOffered;
}

}  // namespace lockstep::translate
