// SPDX-License-Identifier: Apache-2.0
// Who recorded a log: the build and the processor. A replay, or a backup, must agree with both, because the
// log holds only what a machine cannot compute by itself, and another build or processor might compute
// otherwise.
//
// What is here is data and comparison. Reading the processor is the work of host/, which walks the same
// tables.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "x86/features.h"

namespace lockstep::record {

/// A build of Lockstep: equal hashes compute alike.
struct BuildIdentity {
    std::string version;  ///< for people: "0.1.0 (bd252f3)"
    uint64_t hash = 0;

    /// From a version and a description of the sources' state, as git gives it.
    static BuildIdentity of_sources(std::string_view version, std::string_view description);
    /// From a version and what stands for the bytes of the executable.
    static BuildIdentity of_executable(std::string_view version, ByteSpan executable);

    template <typename Codec>
    void fields(Codec& codec) {
        codec(version, hash);
    }
    bool operator==(const BuildIdentity&) const = default;
};

/// Instruction sets that a processor has, by the identity bits of x86/features.inc: those that the translator hands to
/// the processor as they are, or needs for itself.
struct CpuFeatureSet {
    uint64_t bits = 0;

    template <typename Codec>
    void fields(Codec& codec) {
        codec(bits);
    }
    bool operator==(const CpuFeatureSet&) const = default;
};

// LOCKSTEP_CPU_FIELD(type, name, "what it is, for a sentence"): everything that must agree between the two
// processors of a pair (of instruction sets, those that the guest knows), in the order of comparison and of the encoding.
// clang-format off
#define LOCKSTEP_CPU_FIELDS(LOCKSTEP_CPU_FIELD)                                                              \
    LOCKSTEP_CPU_FIELD(std::string,   vendor,     "the vendor")                                              \
    LOCKSTEP_CPU_FIELD(uint32_t,      family,     "the family")                                              \
    LOCKSTEP_CPU_FIELD(uint32_t,      model,      "the model")                                               \
    LOCKSTEP_CPU_FIELD(CpuFeatureSet, features,   "the instruction sets")                                    \
    LOCKSTEP_CPU_FIELD(uint32_t,      mxcsr_mask, "the bits of MXCSR")                                       \
    LOCKSTEP_CPU_FIELD(uint64_t,      arithmetic, "the results of approximations and undefined flags")
// clang-format on

/// A processor, as far as a guest's results depend on it. `arithmetic` is a hash of the results of a fixed
/// set of instructions whose results vendors are free to choose (RCPPS, FSIN, flags after BSF, ...).
struct CpuIdentity {
#define LOCKSTEP_CPU_FIELD(type, name, text) type name{};
    LOCKSTEP_CPU_FIELDS(LOCKSTEP_CPU_FIELD)
#undef LOCKSTEP_CPU_FIELD

    /// The same for a guest of that model, which knows of no other instruction sets.
    CpuIdentity for_model(x86::CpuModel guest) const;

    template <typename Codec>
    void fields(Codec& codec) {
#define LOCKSTEP_CPU_FIELD(type, name, text) codec(name);
        LOCKSTEP_CPU_FIELDS(LOCKSTEP_CPU_FIELD)
#undef LOCKSTEP_CPU_FIELD
    }
    bool operator==(const CpuIdentity&) const = default;
};

/// Empty where the two agree, otherwise a sentence that says what differs and what to do.
std::string difference(const BuildIdentity& recorded, const BuildIdentity& ours);
/// The same for a guest's processor and a host's: the host may have instruction sets that the guest doesn't know.
std::string difference(const CpuIdentity& recorded, const CpuIdentity& ours);

}  // namespace lockstep::record
