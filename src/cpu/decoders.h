// SPDX-License-Identifier: Apache-2.0
// The decoders of 16-, 32- and 64-bit code.
#pragma once

#include <Zydis/Zydis.h>

#include <array>

#include "cpu/cpu_state.h"

namespace lockstep::cpu {

inline const ZydisDecoder& decoder_for(CodeWidth width) {
    static const std::array<ZydisDecoder, 3> decoders = [] {
        std::array<ZydisDecoder, 3> made;
        ZydisDecoderInit(&made[0], ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
        ZydisDecoderInit(&made[1], ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
        ZydisDecoderInit(&made[2], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        return made;
    }();
    return decoders[static_cast<size_t>(width)];
}

}  // namespace lockstep::cpu
