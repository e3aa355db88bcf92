// SPDX-License-Identifier: Apache-2.0
// The pages of a real guest's copy, as a session takes them (pair::Guest::take_pages()).
#pragma once

#include "memory/clone.h"
#include "memory/page_records.h"
#include "pair/ports.h"

namespace lockstep::vmm {

inline pair::Taken take_pages(memory::Clone& clone, Bytes& out, size_t bytes) {
    out.reserve(bytes + memory::kLongestPageRecord);
    switch (clone.take(out, bytes)) {
        case memory::Clone::Taken::kMore:
            return pair::Taken::kMore;
        case memory::Clone::Taken::kRound:
            return clone.another_round_pays() ? pair::Taken::kNextRound : pair::Taken::kCut;
        case memory::Clone::Taken::kComplete:
            return pair::Taken::kComplete;
        case memory::Clone::Taken::kVoid:
            return pair::Taken::kVoid;
    }
    return pair::Taken::kVoid;
}

}  // namespace lockstep::vmm
