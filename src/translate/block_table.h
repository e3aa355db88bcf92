// All blocks: found by their key, thrown away by the guest-physical page that they were made from.
//
// The block key is the guest-physical address, the guest virtual address (blocks hold it as constants) and the mode
// bits that change the translation. A page with blocks carries the `code` mark of guest memory, and no shadow map
// has a write entry for it; a write to it throws its blocks away (self-modifying code).
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

#include "base/strong.h"
#include "memory/guest_memory.h"
#include "translate/code_cache.h"
#include "translate/shadow_map.h"

namespace lockstep::translate {

struct BlockKey {
    uint64_t physical = 0;
    uint64_t pc = 0;
    bool user = false;
    bool fpu_enabled = true;
    bool operator==(const BlockKey&) const = default;
};

struct BlockKeyHash {
    size_t operator()(const BlockKey& key) const {
        uint64_t mixed = (key.physical + key.user * 2u + key.fpu_enabled) * 0x9e3779b97f4a7c15;
        mixed = (mixed ^ mixed >> 32 ^ key.pc >> 12) * 0xd6e8feb86659fd93;
        return mixed ^ mixed >> 32;
    }
};

class BlockTable {
  public:
    BlockTable(CodeCache& cache, memory::GuestMemory& memory, ShadowMap& shadow_map)
        : cache_(cache), memory_(memory), shadow_map_(shadow_map), recent_(kRecent) {}

    Block* find(const BlockKey& key) const;
    void insert(Block& block);
    /// Throws away what was made from a page; `forget` hears of each block that goes.
    void invalidate_page(GuestPhys page, const std::function<void(Block&)>& forget);
    /// Throws all away; the code cache is flushed by the caller.
    void clear();
    /// Lets the direct branch of `record` jump straight to `block`.
    void chain(uint32_t record, Block& block);

  private:
    void add_to_page(uint64_t page, Block& block);
    void unchain(Block& block);

    static constexpr size_t kRecent = 1 << 15;

    CodeCache& cache_;
    memory::GuestMemory& memory_;
    ShadowMap& shadow_map_;
    std::unordered_map<BlockKey, Block*, BlockKeyHash> blocks_;
    mutable std::vector<Block*> recent_;  // found lately, by hash; or null
    std::unordered_map<uint64_t, std::vector<Block*>> pages_;  // by guest-physical page number
};

}  // namespace lockstep::translate
