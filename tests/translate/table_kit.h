// SPDX-License-Identifier: Apache-2.0
// Blocks without code, for tests of the tables that lead to them.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>

#include "memory/guest_memory.h"
#include "translate/assembler.h"
#include "translate/block_table.h"
#include "translate/code_cache.h"

namespace lockstep::translate {

/// Some place in host code that nobody goes to; different for each number.
inline const uint8_t* code_address(uint64_t number) {
    return reinterpret_cast<const uint8_t*>(0x7000'0000'0000 + number * 16);
}

/// Bytes that this process has on its heap.
uint64_t heap_bytes();

/// A code cache, and blocks in it as a builder leaves them: with the key, the three entries and 16 bytes in
/// each part.
class BlockKit {
  public:
    explicit BlockKit(uint64_t bytes = 1 << 20) : cache(bytes) {}

    Block& block(const BlockKey& key, Shelf shelf = Shelf::kTranslated);
    /// The exit record of a direct branch that isn't chained, in the code of the newest block of the shelf.
    uint32_t link(Shelf shelf = Shelf::kTranslated, bool flags_in_slot = false);
    /// Where the branch of a record jumps to.
    const uint8_t* target_of(uint32_t record) { return Assembler::target_of(cache.record(record).host); }

    CodeCache cache;
};

}  // namespace lockstep::translate
