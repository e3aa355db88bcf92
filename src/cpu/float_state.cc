#include "cpu/float_state.h"

#include <cstring>

namespace lockstep::cpu {

void reset_fx(FxState& fx) {
    fx = FxState{};
    std::memcpy(&fx.bytes[kFxControl], &kFcwInitial, 2);
    std::memcpy(&fx.bytes[kFxMxcsr], &kMxcsrInitial, 4);
    std::memcpy(&fx.bytes[kFxMxcsrMask], &kMxcsrMask, 4);
}

void normalise_fx(FxState& fx) {
    std::memset(&fx.bytes[kFxTag + 1], 0, kFxMxcsr - kFxTag - 1);
    std::memcpy(&fx.bytes[kFxMxcsrMask], &kMxcsrMask, 4);
    for (unsigned i = 0; i < 8; ++i) std::memset(&fx.bytes[kFxStack + i * 16 + 10], 0, 6);
    std::memset(&fx.bytes[kFxEnd], 0, fx.bytes.size() - kFxEnd);
}

}  // namespace lockstep::cpu
