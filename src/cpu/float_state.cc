// SPDX-License-Identifier: Apache-2.0
#include "cpu/float_state.h"

#include <emmintrin.h>

#include <cstring>
#include <utility>

namespace lockstep::cpu {

bool is_clear(const UpperHalves& halves) {
    __m128i any{};
    for (size_t at = 0; at < halves.bytes.size(); at += 16)
        any = _mm_or_si128(any, _mm_load_si128(reinterpret_cast<const __m128i*>(&halves.bytes[at])));
    return _mm_movemask_epi8(_mm_cmpeq_epi8(any, __m128i{})) == 0xffff;
}

void reset_fx(FxState& fx) {
    fx = FxState{};
    std::memcpy(&fx.bytes[kFxControl], &kFcwInitial, 2);
    std::memcpy(&fx.bytes[kFxMxcsr], &kMxcsrInitial, 4);
    std::memcpy(&fx.bytes[kFxMxcsrMask], &kMxcsrMask, 4);
}

namespace {

/// Zeroes the software part, 6 x 16 bytes, by plain stores: what the compiler makes of a memset() or a loop
/// of this size is a microcoded REP STOS.
template <size_t... Index>
void clear_software_part(FxState& fx, std::index_sequence<Index...>) {
    static_assert(kFxEnd + 16 * sizeof...(Index) == sizeof fx.bytes);
    (_mm_store_si128(reinterpret_cast<__m128i*>(&fx.bytes[kFxEnd + 16 * Index]), __m128i{}), ...);
}

}  // namespace

// Every switch between translated code and an x87 instruction of the interpreter passes here.
void normalise_fx(FxState& fx) {
    std::memset(&fx.bytes[kFxTag + 1], 0, kFxMxcsr - kFxTag - 1);
    std::memcpy(&fx.bytes[kFxMxcsrMask], &kMxcsrMask, 4);
    for (unsigned i = 0; i < 8; ++i) std::memset(&fx.bytes[kFxStack + i * 16 + 10], 0, 6);
    clear_software_part(fx, std::make_index_sequence<6>());
}

uint16_t with_summary(uint16_t status, uint16_t control) {
    bool pending = status & ~control & kFswExceptions;
    uint16_t plain = status & static_cast<uint16_t>(~(kFswSummary | kFswBusy));
    return pending ? plain | kFswSummary | kFswBusy : plain;
}

void normalise_software_fx(FxState& fx) {
    normalise_fx(fx);
    uint16_t control, status;
    std::memcpy(&control, &fx.bytes[kFxControl], 2);
    std::memcpy(&status, &fx.bytes[kFxStatus], 2);
    control = static_cast<uint16_t>((control & kFcwWritable) | kFcwFixed);
    status = with_summary(status, control);
    std::memcpy(&fx.bytes[kFxControl], &control, 2);
    std::memcpy(&fx.bytes[kFxStatus], &status, 2);
}

}  // namespace lockstep::cpu
