// SPDX-License-Identifier: Apache-2.0
#include "translate/code_pieces.h"

namespace lockstep::translate {

namespace {

std::span<const uint8_t> bytes_of(const HostCode& code) { return {code.start, code.end}; }

}  // namespace

void visit_fixed_code(CodeCache& cache, const CodeVisitor& visit) {
    visit({.kind = CodeKind::kTrampolines, .code = {cache.trampolines(), cache.trampolines_end()}});
    for (Part part : {Part::kHot, Part::kCold})
        visit({.kind = CodeKind::kTransient, .code = bytes_of(cache.room(Shelf::kTransient, part))});
}

// Cold parts follow each other in the order of the blocks; what lies between two of them are entries that
// were added to blocks in the meantime.
void visit_blocks(CodeCache& cache, Shelf shelf, const CodeVisitor& visit) {
    HostCode cold = cache.used(shelf, Part::kCold);
    const uint8_t* seen = cold.start;
    auto visit_gap = [&](const uint8_t* end) {
        if (end > seen) visit({.kind = CodeKind::kJumpChecks, .code = {seen, end}});
    };
    for (const Block& block : cache.blocks(shelf)) {
        visit_gap(block.part(Part::kCold).start);
        seen = block.part(Part::kCold).end;
        for (Part part : {Part::kHot, Part::kCold}) {
            const HostCode& code = block.part(part);
            if (code.size() > 0)
                visit({.kind = CodeKind::kBlock,
                       .cold = part == Part::kCold,
                       .user = block.mode.user,
                       .pc = block.pc,
                       .code = bytes_of(code)});
        }
    }
    visit_gap(cold.end);
}

}  // namespace lockstep::translate
