// SPDX-License-Identifier: Apache-2.0
// Segment and gate descriptors (Intel SDM vol. 3, 3.4.5, 3.5, 6.14.1 and 7.2.3).
#pragma once

#include <cstdint>

namespace lockstep::x86 {

// Attributes: bits 55:40 of a descriptor, with the limit bits taken out (see cpu/cpu_state.h).
inline constexpr uint16_t kAttributeAccessed = 1 << 0, kAttributeWritable = 1 << 1 /* code: readable */,
                          kAttributeConforming = 1 << 2 /* data: expand down */, kAttributeCode = 1 << 3,
                          kAttributeNotSystem = 1 << 4, kAttributePresent = 1 << 7, kAttributeLong = 1 << 13,
                          kAttributeBig = 1 << 14, kAttributeGranular = 1 << 15;
/// Segments as SYSCALL and its relatives load them, DPL 0.
inline constexpr uint16_t kFlatCode64 = 0xa09b, kFlatCode32 = 0xc09b, kFlatData = 0xc093;
/// A segment of real mode.
inline constexpr uint16_t kRealModeSegment = 0x93;
constexpr uint16_t with_dpl(uint16_t attributes, unsigned dpl) {
    return static_cast<uint16_t>((attributes & ~0x60) | dpl << 5);
}

// System descriptor types in long mode
inline constexpr unsigned kTypeLdt = 2, kTypeTssAvailable = 9, kTypeTssBusy = 11, kTypeCallGate = 12,
                          kTypeInterruptGate = 14, kTypeTrapGate = 15;

/// A code, data or system segment descriptor. `high` is used by the 16-byte system descriptors alone.
struct Descriptor {
    uint64_t low = 0;
    uint64_t high = 0;

    constexpr uint16_t attributes() const { return static_cast<uint16_t>(low >> 40 & 0xf0ff); }
    constexpr unsigned type() const { return low >> 40 & 15; }
    constexpr unsigned dpl() const { return low >> 45 & 3; }
    constexpr bool present() const { return low >> 47 & 1; }
    constexpr bool is_system() const { return !(low >> 44 & 1); }
    constexpr bool is_code() const { return !is_system() && (low >> 43 & 1); }
    constexpr bool is_data() const { return !is_system() && !(low >> 43 & 1); }
    constexpr bool is_conforming() const { return is_code() && (low >> 42 & 1); }
    constexpr bool is_writable_data() const { return is_data() && (low >> 41 & 1); }
    constexpr bool is_readable() const { return is_data() || (is_code() && (low >> 41 & 1)); }
    constexpr bool is_accessed() const { return low >> 40 & 1; }
    constexpr bool is_long() const { return low >> 53 & 1; }
    constexpr bool is_big() const { return low >> 54 & 1; }
    constexpr uint32_t base32() const {
        return static_cast<uint32_t>((low >> 16 & 0xffffff) | (low >> 56 << 24));
    }
    constexpr uint64_t base64() const { return base32() | (high & 0xffffffff) << 32; }
    /// In bytes: the granularity is applied.
    constexpr uint32_t limit() const {
        auto raw = static_cast<uint32_t>((low & 0xffff) | (low >> 32 & 0xf0000));
        return low >> 55 & 1 ? raw << 12 | 0xfff : raw;
    }
};

/// The descriptor of a segment. `limit` in bytes; with the granular attribute its low 12 bits are lost.
constexpr Descriptor make_descriptor(uint64_t base, uint32_t limit, uint16_t attributes) {
    uint64_t raw = attributes & kAttributeGranular ? limit >> 12 : limit;
    return {(raw & 0xffff) | (base & 0xffffff) << 16 | uint64_t{attributes} << 40 | (raw & 0xf0000) << 32 |
                (base >> 24 & 0xff) << 56,
            base >> 32};
}

/// A 16-byte gate of the IDT.
struct Gate {
    uint64_t low = 0;
    uint64_t high = 0;

    constexpr uint64_t offset() const { return (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32; }
    constexpr uint16_t selector() const { return static_cast<uint16_t>(low >> 16); }
    constexpr unsigned ist() const { return low >> 32 & 7; }
    constexpr unsigned type() const { return low >> 40 & 31; }  ///< with the S bit: a gate has it clear
    constexpr unsigned dpl() const { return low >> 45 & 3; }
    constexpr bool present() const { return low >> 47 & 1; }
};

constexpr Gate make_gate(uint64_t offset, uint16_t selector, unsigned ist, unsigned type, unsigned dpl) {
    return {(offset & 0xffff) | uint64_t{selector} << 16 | uint64_t{ist} << 32 | uint64_t{type} << 40 |
                uint64_t{dpl} << 45 | uint64_t{1} << 47 | (offset >> 16 & 0xffff) << 48,
            offset >> 32};
}

constexpr bool is_null_selector(uint16_t selector) { return (selector & ~3) == 0; }

// Offsets in the 64-bit task state segment
inline constexpr unsigned kTssRsp0 = 4, kTssIst1 = 36, kTssIoMap = 102;

}  // namespace lockstep::x86
