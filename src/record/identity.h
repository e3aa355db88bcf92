// SPDX-License-Identifier: Apache-2.0
// Who recorded a log: the build and the processor. A replay, or a backup, must agree with both, because the
// log holds only what a machine cannot compute by itself, and another build or processor might compute
// otherwise.
//
// What is here is data and comparison. Reading the processor is the work of host/, which walks the same
// tables.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"

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

// LOCKSTEP_FEATURE(name, bit of CpuIdentity::features, CPUID leaf, subleaf, register, bit)
// The instruction sets that the translator hands to the processor as they are, or needs for itself.
// Bits are part of the format: never change or reuse one.
// clang-format off
#define LOCKSTEP_CPU_FEATURES(LOCKSTEP_FEATURE)          \
    LOCKSTEP_FEATURE(sse3,       0, 0x00000001, 0, kEcx,  0) \
    LOCKSTEP_FEATURE(pclmulqdq,  1, 0x00000001, 0, kEcx,  1) \
    LOCKSTEP_FEATURE(ssse3,      2, 0x00000001, 0, kEcx,  9) \
    LOCKSTEP_FEATURE(fma,        3, 0x00000001, 0, kEcx, 12) \
    LOCKSTEP_FEATURE(cmpxchg16b, 4, 0x00000001, 0, kEcx, 13) \
    LOCKSTEP_FEATURE(sse4_1,     5, 0x00000001, 0, kEcx, 19) \
    LOCKSTEP_FEATURE(sse4_2,     6, 0x00000001, 0, kEcx, 20) \
    LOCKSTEP_FEATURE(movbe,      7, 0x00000001, 0, kEcx, 22) \
    LOCKSTEP_FEATURE(popcnt,     8, 0x00000001, 0, kEcx, 23) \
    LOCKSTEP_FEATURE(aes,        9, 0x00000001, 0, kEcx, 25) \
    LOCKSTEP_FEATURE(avx,       10, 0x00000001, 0, kEcx, 28) \
    LOCKSTEP_FEATURE(f16c,      11, 0x00000001, 0, kEcx, 29) \
    LOCKSTEP_FEATURE(bmi1,      12, 0x00000007, 0, kEbx,  3) \
    LOCKSTEP_FEATURE(avx2,      13, 0x00000007, 0, kEbx,  5) \
    LOCKSTEP_FEATURE(bmi2,      14, 0x00000007, 0, kEbx,  8) \
    LOCKSTEP_FEATURE(adx,       15, 0x00000007, 0, kEbx, 19) \
    LOCKSTEP_FEATURE(sha,       16, 0x00000007, 0, kEbx, 29) \
    LOCKSTEP_FEATURE(lzcnt,     17, 0x80000001, 0, kEcx,  5) \
    LOCKSTEP_FEATURE(fsgsbase,  18, 0x00000007, 0, kEbx,  0)
// clang-format on

enum class CpuidRegister : uint8_t { kEax, kEbx, kEcx, kEdx };

/// One row of the table, for the code that reads CPUID.
struct CpuFeature {
    std::string_view name;
    unsigned identity_bit;
    uint32_t leaf;
    uint32_t subleaf;
    CpuidRegister cpuid_register;
    unsigned cpuid_bit;
};
std::span<const CpuFeature> cpu_features();

/// Instruction sets that a processor has, by `identity_bit`.
struct CpuFeatureSet {
    uint64_t bits = 0;

    template <typename Codec>
    void fields(Codec& codec) {
        codec(bits);
    }
    bool operator==(const CpuFeatureSet&) const = default;
};

// LOCKSTEP_CPU_FIELD(type, name, "what it is, for a sentence"): everything that must agree between the two
// processors of a pair, in the order of comparison and of the encoding.
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
std::string difference(const CpuIdentity& recorded, const CpuIdentity& ours);

}  // namespace lockstep::record
