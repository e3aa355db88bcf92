// SPDX-License-Identifier: Apache-2.0
// How state.rip was reached, as far as the block there should be remembered for the next time.
//
// It is one value, and every step replaces it: a block's exit by what that one was, all else (an exception, an
// interrupt, an interpreted instruction, a state that was put in) by "nothing". What isn't replaced would
// connect a branch with a place that it doesn't lead to.
#pragma once

#include <cstdint>

#include "translate/code_cache.h"

namespace lockstep::translate {

struct Arrival {
    enum class Way : uint8_t {
        kNothing,      ///< by no branch that a block has made, or by one that can't be made shorter
        kChain,        ///< a direct branch, which may be chained
        kJump,         ///< an indirect branch that the jump cache doesn't know
        kDirect,       ///< a direct branch through an empty slot
        kPlain,        ///< a shared look-up has failed here: a block without any is to run
        kShortBudget,  ///< the block here is longer than the budget
    };
    Way way = Way::kNothing;
    uint32_t record = kNoRecord;  ///< kChain: the branch's exit record
};

}  // namespace lockstep::translate
