// SPDX-License-Identifier: Apache-2.0
// A block for the same guest-physical code at another guest address.
//
// Processes map libraries, and themselves, at random places: the same code at a new address costs a copy of
// its block with other constants, a tenth of a translation. What a copy must change is listed as RELOCATIONS
// while the block is built (BlockBuilder::relocate()); a block with a constant that no relocation describes
// isn't relocatable.
#pragma once

#include <cstdint>

#include "translate/code_cache.h"
#include "translate/direct_targets.h"

namespace lockstep::translate {

/// Makes a block for guest address `pc` out of `from`, which was translated. The copies' shelf must have
/// room.
Block& copy_block(CodeCache& cache, DirectTargets& targets, const Block& from, uint64_t pc);

}  // namespace lockstep::translate
