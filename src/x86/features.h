// SPDX-License-Identifier: Apache-2.0
// The features of the CPU models (features.inc), and what follows from them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "x86/control.h"

namespace lockstep::x86 {

/// What a guest's processor offers, by the levels of the x86-64 psABI. Each has all of those before it.
enum class CpuModel : uint8_t { kV2, kV3 };
inline constexpr std::string_view kCpuModelNames[] = {"x86-64-v2", "x86-64-v3"};
constexpr std::string_view name_of(CpuModel model) { return kCpuModelNames[static_cast<size_t>(model)]; }

enum class CpuidRegister : uint8_t { kEax, kEbx, kEcx, kEdx };

/// Who executes the instructions of a feature.
enum class Executor : uint8_t { kHost, kEngine };

/// The registers that instructions work on, by the component of XSAVE that holds them. CR0.TS guards all but the general
/// ones; of the others XCR0 must have enabled the AVX one.
enum class Component : uint8_t { kGeneral, kX87, kSse, kAvx };

inline constexpr unsigned kNoIdentity = ~0u;

enum class Feature : uint8_t {
    kBase,
#define LOCKSTEP_FEATURE(name, ...) name,
#include "x86/features.inc"
};

/// One row of the table.
struct FeatureRow {
    std::string_view name;
    Feature feature;
    uint32_t leaf;
    CpuidRegister cpuid_register;
    unsigned bit;
    Executor executor;
    Component component;
    unsigned identity_bit;
    CpuModel model;
};

inline constexpr auto kFeatures = std::to_array<FeatureRow>({
#define LOCKSTEP_FEATURE(name, leaf, reg, bit, executor, component, identity, model)                    \
    {#name,    Feature::name,  leaf, CpuidRegister::reg, bit, Executor::executor, Component::component, \
     identity, CpuModel::model},
#include "x86/features.inc"
});

constexpr bool offers(CpuModel model, const FeatureRow& row) { return row.model <= model; }

/// What a register of CPUID shows, as far as it is features that are always there.
constexpr uint32_t cpuid_bits(CpuModel model, uint32_t leaf, CpuidRegister cpuid_register) {
    uint32_t bits = 0;
    for (const FeatureRow& row : kFeatures)
        if (row.leaf == leaf && row.cpuid_register == cpuid_register && offers(model, row))
            bits |= uint32_t{1} << row.bit;
    return bits;
}

constexpr uint64_t xcr0_bit(Component component) {
    return component == Component::kX87   ? kXcr0X87
           : component == Component::kSse ? kXcr0Sse
           : component == Component::kAvx ? kXcr0Avx
                                          : 0;
}

/// The components that a guest may enable in XCR0.
constexpr uint64_t xcr0_of(CpuModel model) {
    uint64_t bits = 0;
    for (const FeatureRow& row : kFeatures)
        if (offers(model, row)) bits |= xcr0_bit(row.component);
    return bits;
}

constexpr Component component_of(Feature feature) {
    for (const FeatureRow& row : kFeatures)
        if (row.feature == feature) return row.component;
    return Component::kGeneral;
}

/// The identity bits of what a model takes from the host's processor.
constexpr uint64_t identity_of(CpuModel model) {
    uint64_t bits = 0;
    for (const FeatureRow& row : kFeatures)
        if (row.identity_bit != kNoIdentity && offers(model, row)) bits |= uint64_t{1} << row.identity_bit;
    return bits;
}

/// The model of that name.
constexpr std::optional<CpuModel> model_named(std::string_view name) {
    for (size_t i = 0; i < std::size(kCpuModelNames); ++i)
        if (kCpuModelNames[i] == name) return static_cast<CpuModel>(i);
    return std::nullopt;
}

}  // namespace lockstep::x86
