// SPDX-License-Identifier: Apache-2.0
#include "record/identity.h"

#include <fmt/format.h>

#include <concepts>

#include "base/foreign_text.h"
#include "base/hash.h"
#include "x86/features.h"

namespace lockstep::record {

namespace {

ByteSpan span_of(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string names_of(uint64_t features) {
    std::string names;
    auto add = [&](std::string_view name) {
        names += names.empty() ? "" : ", ";
        names += name;
    };
    for (const x86::FeatureRow& feature : x86::kFeatures)
        if (feature.identity_bit != x86::kNoIdentity && (features >> feature.identity_bit & 1))
            add(feature.name);
    if (features & ~x86::identity_of(x86::CpuModel::kV3)) add("what this program has no name for");
    return names;
}

std::string values(const std::string& there, const std::string& here) {
    return fmt::format("'{}' there, '{}' here", foreign_text(there), here);
}

template <std::unsigned_integral T>
std::string values(T there, T here) {
    return fmt::format("{:#x} there, {:#x} here", there, here);
}

std::string values(const CpuFeatureSet& there, const CpuFeatureSet& here) {
    return fmt::format("missing here: {}", names_of(there.bits & ~here.bits));
}

template <typename T>
bool agree(const T& there, const T& here) {
    return there == here;
}
bool agree(const CpuFeatureSet& there, const CpuFeatureSet& here) { return (there.bits & ~here.bits) == 0; }

/// A smaller CPU model is a way out where only what the larger ones add is missing.
std::string_view remedy(const CpuIdentity& recorded, const CpuIdentity& ours) {
    CpuIdentity smaller = recorded.for_model(x86::CpuModel::kV2), alike = ours;
    alike.features = smaller.features;
    bool enough = smaller == alike && agree(smaller.features, ours.features);
    return enough ? "use hosts with the same processor, or start the VM with cpu = \"x86-64-v2\""
                  : "use hosts with the same processor";
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

CpuIdentity CpuIdentity::for_model(x86::CpuModel guest) const {
    CpuIdentity identity = *this;
    identity.features.bits &= x86::identity_of(guest);
    return identity;
}

std::string difference(const BuildIdentity& recorded, const BuildIdentity& ours) {
    if (recorded.hash == ours.hash) return {};
    return fmt::format(
        "the builds of Lockstep differ: {} there, {} here; use the same executable on both sides",
        recorded.version, ours.version);
}

std::string difference(const CpuIdentity& recorded, const CpuIdentity& ours) {
    std::string fields;
    auto compare = [&](std::string_view text, const auto& there, const auto& here) {
        if (agree(there, here)) return;
        fields += fields.empty() ? "" : "; ";
        fields += fmt::format("{} ({})", text, values(there, here));
    };
#define LOCKSTEP_CPU_FIELD(type, name, text) compare(text, recorded.name, ours.name);
    LOCKSTEP_CPU_FIELDS(LOCKSTEP_CPU_FIELD)
#undef LOCKSTEP_CPU_FIELD
    if (fields.empty()) return {};
    return fmt::format("the processors are not compatible, they differ in {}; {}", fields,
                       remedy(recorded, ours));
}

}  // namespace lockstep::record
