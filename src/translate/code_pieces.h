// SPDX-License-Identifier: Apache-2.0
// Shows the host code in a code cache, piece by piece, for profiles.
#pragma once

#include "translate/code_cache.h"
#include "translate/engine_report.h"

namespace lockstep::translate {

/// The code that stays where it is as long as the cache exists.
void visit_fixed_code(CodeCache& cache, const CodeVisitor& visit);

/// Every block on a lasting shelf, dead ones too: they ran, and their place isn't used again.
void visit_blocks(CodeCache& cache, Shelf shelf, const CodeVisitor& visit);

}  // namespace lockstep::translate
