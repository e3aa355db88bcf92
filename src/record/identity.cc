// SPDX-License-Identifier: Apache-2.0
#include "record/identity.h"

#include <fmt/format.h>

#include <concepts>

#include "base/foreign_text.h"
#include "base/hash.h"

namespace lockstep::record {

namespace {

ByteSpan span_of(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

constexpr CpuFeature kFeatures[] = {
#define LOCKSTEP_FEATURE(name, identity_bit, leaf, subleaf, cpuid_register, cpuid_bit) \
    {#name, identity_bit, leaf, subleaf, CpuidRegister::cpuid_register, cpuid_bit},
    LOCKSTEP_CPU_FEATURES(LOCKSTEP_FEATURE)
#undef LOCKSTEP_FEATURE
};

std::string names_of(uint64_t features) {
    std::string names;
    for (const CpuFeature& feature : kFeatures) {
        if (features >> feature.identity_bit & 1) {
            names += names.empty() ? "" : ", ";
            names += feature.name;
        }
    }
    return names.empty() ? "none" : names;
}

std::string values(const std::string& there, const std::string& here) {
    return fmt::format("'{}' there, '{}' here", foreign_text(there), here);
}

template <std::unsigned_integral T>
std::string values(T there, T here) {
    return fmt::format("{:#x} there, {:#x} here", there, here);
}

std::string values(const CpuFeatureSet& there, const CpuFeatureSet& here) {
    return fmt::format("only there: {}; only here: {}", names_of(there.bits & ~here.bits),
                       names_of(here.bits & ~there.bits));
}

}  // namespace

BuildIdentity BuildIdentity::of_sources(std::string_view version, std::string_view description) {
    uint64_t hash = hash64(span_of(description), hash64(span_of(version)));
    return {fmt::format("{} ({})", version, description), hash};
}

BuildIdentity BuildIdentity::of_executable(std::string_view version, ByteSpan executable) {
    uint64_t hash = hash64(executable, hash64(span_of(version)));
    return {fmt::format("{} ({:016x})", version, hash), hash};
}

std::span<const CpuFeature> cpu_features() { return kFeatures; }

std::string difference(const BuildIdentity& recorded, const BuildIdentity& ours) {
    if (recorded.hash == ours.hash) return {};
    return fmt::format(
        "the builds of Lockstep differ: {} there, {} here; use the same executable on both sides",
        recorded.version, ours.version);
}

std::string difference(const CpuIdentity& recorded, const CpuIdentity& ours) {
    std::string fields;
    auto compare = [&](std::string_view text, const auto& there, const auto& here) {
        if (there == here) return;
        fields += fields.empty() ? "" : "; ";
        fields += fmt::format("{} ({})", text, values(there, here));
    };
#define LOCKSTEP_CPU_FIELD(type, name, text) compare(text, recorded.name, ours.name);
    LOCKSTEP_CPU_FIELDS(LOCKSTEP_CPU_FIELD)
#undef LOCKSTEP_CPU_FIELD
    if (fields.empty()) return {};
    return "the processors are not compatible, they differ in " + fields +
           "; use hosts with the same processor";
}

}  // namespace lockstep::record
