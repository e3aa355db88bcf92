// SPDX-License-Identifier: Apache-2.0
// The architectural state of the vCPU, as plain data.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "base/strong.h"
#include "x86/control.h"

namespace lockstep::cpu {

enum Gpr : uint8_t {
    kRax,
    kRcx,
    kRdx,
    kRbx,
    kRsp,
    kRbp,
    kRsi,
    kRdi,
    kR8,
    kR9,
    kR10,
    kR11,
    kR12,
    kR13,
    kR14,
    kR15
};
enum Segment : uint8_t { kEs, kCs, kSs, kDs, kFs, kGs };

/// How code is decoded, and how wide its addresses and operands are by default (Intel SDM vol. 3, 3.4.5).
enum class CodeWidth : uint8_t { k16, k32, k64 };

/// A segment register with its hidden part. `attributes` has the layout of bits 55:40 of a descriptor
/// (type, S, DPL, P, limit 19:16 as zero, AVL, L, D/B, G; Intel SDM vol. 3, 3.4.5); `limit` is in bytes.
struct SegmentRegister {
    uint16_t selector = 0;
    uint16_t attributes = 0;
    uint32_t limit = 0;
    uint64_t base = 0;
};

/// GDTR, IDTR.
struct TableRegister {
    uint64_t base = 0;
    uint64_t limit = 0;
};

/// The legacy region of FXSAVE (Intel SDM vol. 1, 10.5), 64-bit form. FOP, FIP and FDP are always zero in it.
struct alignas(64) FxState {
    std::array<uint8_t, 512> bytes{};
};

/// Bits 255:128 of the sixteen YMM registers, laid out as XSAVE's AVX component (Intel SDM vol. 1, 13.5.3).
struct alignas(16) UpperHalves {
    std::array<uint8_t, 256> bytes{};
};

/// Everything that hash and snapshot cover. Translated code reaches it at fixed offsets.
struct CpuState {
    std::array<uint64_t, 16> gpr{};
    /// No part of the guest's state: for translated code, which reaches what lies here by short addresses.
    std::array<uint64_t, 10> engine_slots{};
    std::array<SegmentRegister, 6> segments{};
    uint64_t rip = 0;
    uint64_t rflags = 2;
    SegmentRegister ldtr{};
    SegmentRegister tr{};
    TableRegister gdtr{};
    TableRegister idtr{};
    uint64_t cr0 = 0;
    uint64_t cr2 = 0;
    uint64_t cr3 = 0;
    uint64_t cr4 = 0;
    uint64_t xcr0 = 1;
    std::array<uint64_t, 8> dr{0, 0, 0, 0, 0, 0, 0xffff0ff0, 0x400};
    uint64_t efer = 0;
    uint64_t star = 0;
    uint64_t lstar = 0;
    uint64_t cstar = 0;
    uint64_t sfmask = 0;
    uint64_t kernel_gs_base = 0;
    uint64_t sysenter_cs = 0;
    uint64_t sysenter_esp = 0;
    uint64_t sysenter_eip = 0;
    uint64_t pat = 0x0007040600070406;
    uint64_t tsc_aux = 0;
    uint64_t spec_ctrl = 0;
    uint64_t misc_enable = 1;
    uint64_t mtrr_def_type = 0x806;
    Icount icount;
    uint8_t halted = 0;            ///< HLT was executed and no interrupt has come since
    uint8_t interrupt_shadow = 0;  ///< what covers the next instruction: kShadowOfSti, kShadowOfMovSs or 0
    /// No part of the guest's state, for translated code: whether some upper half may be other than zero now, and as it
    /// was saved last. Who changes `upper_halves` sets the first.
    uint8_t upper_halves_used = 0;
    uint8_t upper_halves_saved = 0;
    uint8_t reserved[4] = {};
    FxState fx;                ///< x87, MMX, SSE; valid while translated code isn't running
    UpperHalves upper_halves;  ///< AVX; the same

    unsigned cpl() const { return segments[kSs].attributes >> 5 & 3; }
    bool long_mode() const { return efer >> 10 & 1; }
    /// AVX instructions may be executed, but for CR0.TS (Intel SDM vol. 1, 14.3; not in real mode).
    bool avx_enabled() const {
        constexpr uint64_t kVectors = x86::kXcr0Sse | x86::kXcr0Avx;
        return (cr0 & x86::kCr0Pe) && (cr4 & x86::kCr4Osxsave) && (xcr0 & kVectors) == kVectors;
    }
    /// 64-bit code is running (long mode and CS.L).
    bool code64() const { return long_mode() && (segments[kCs].attributes >> 13 & 1); }
    CodeWidth code_width() const {
        if (code64()) return CodeWidth::k64;
        return segments[kCs].attributes >> 14 & 1 ? CodeWidth::k32 : CodeWidth::k16;
    }
    /// Whether selectors name descriptors; in real mode they are the segments' addresses.
    bool protected_mode() const { return cr0 & 1; }
    /// The linear address of the instruction at rip. Outside 64-bit code addresses have 32 bits.
    uint64_t code_address() const { return code64() ? rip : static_cast<uint32_t>(rip + segments[kCs].base); }
    /// What follows an instruction of `length` bytes.
    uint64_t rip_behind(unsigned length) const {
        return code64() ? rip + length : static_cast<uint32_t>(rip + length);
    }
};
static_assert(std::is_standard_layout_v<CpuState>);

// RFLAGS
inline constexpr uint64_t kFlagCf = 1 << 0, kFlagPf = 1 << 2, kFlagAf = 1 << 4, kFlagZf = 1 << 6,
                          kFlagSf = 1 << 7, kFlagTf = 1 << 8, kFlagIf = 1 << 9, kFlagDf = 1 << 10,
                          kFlagOf = 1 << 11, kFlagIopl = 3 << 12, kFlagNt = 1 << 14, kFlagRf = 1 << 16,
                          kFlagVm = 1 << 17, kFlagAc = 1 << 18, kFlagVif = 1 << 19, kFlagVip = 1 << 20,
                          kFlagId = 1 << 21;
/// What SYSRET takes from R11.
inline constexpr uint64_t kSysretFlags = 0x3c7fd7;
inline constexpr uint64_t kArithmeticFlags = kFlagCf | kFlagPf | kFlagAf | kFlagZf | kFlagSf | kFlagOf;

/// CpuState::interrupt_shadow. That of MOV SS holds off debug traps, too (Intel SDM vol. 3, 6.8.3).
inline constexpr uint8_t kShadowOfSti = 1, kShadowOfMovSs = 2;

/// An exception to deliver (Intel SDM vol. 3, 6.15).
struct Exception {
    uint8_t vector = 0;
    bool has_error_code = false;
    uint32_t error_code = 0;
    uint64_t cr2 = 0;  ///< for page faults: the address
};

inline constexpr uint8_t kDe = 0, kDb = 1, kBp = 3, kOf = 4, kBr = 5, kUd = 6, kNm = 7, kDf = 8, kTs = 10,
                         kNp = 11, kSs_ = 12, kGp = 13, kPf = 14, kMf = 16, kAc = 17, kXm = 19;

}  // namespace lockstep::cpu
