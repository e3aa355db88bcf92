// SPDX-License-Identifier: Apache-2.0
// What a translation depends on beside the code and its address: one value in a block, in what it is made from, and in
// what it is found by.
#pragma once

#include <cstdint>

#include "cpu/cpu_state.h"
#include "x86/control.h"

namespace lockstep::translate {

/// Which registers beside the general ones instructions may use; the others raise #NM or #UD.
enum class Vectors : uint8_t {
    kNone,  ///< CR0.TS or EM is set
    kSse,   ///< x87, MMX, XMM
    kAvx,   ///< and YMM, with VEX encodings
};

constexpr Vectors vectors_of(const cpu::CpuState& state) {
    if (state.cr0 & (x86::kCr0Ts | x86::kCr0Em)) return Vectors::kNone;
    return state.avx_enabled() ? Vectors::kAvx : Vectors::kSse;
}

struct Mode {
    bool user = false;
    Vectors vectors = Vectors::kSse;
    bool plain = false;   ///< made without shared look-ups (shared_lookups.h), and no superblock
    bool window = false;  ///< its accesses go through the window (host_window.h)

    bool operator==(const Mode&) const = default;
    /// A number of its own for each mode but for `plain`; below 16.
    constexpr unsigned number() const {
        return (user ? 1u : 0u) | static_cast<unsigned>(vectors) << 1 | (window ? 8u : 0u);
    }
};

}  // namespace lockstep::translate
