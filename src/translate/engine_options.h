// SPDX-License-Identifier: Apache-2.0
// How translated code is made; nothing here may be visible in the guest.
#pragma once

#include <cstdint>

namespace lockstep::translate {

struct EngineOptions {
    uint64_t code_cache_bytes = 128ull << 20;
    unsigned block_limit = 64;   ///< guest instructions in a block at most
    bool chaining = true;        ///< blocks jump straight to their successors
    bool jump_cache = true;      ///< indirect jumps find their block without the dispatcher
    bool jump_index = true;      ///< and again after a flush of the TLB, once their page is known
    bool dead_flags = true;      ///< flags that the guest's code overwrites unread are not preserved
    bool copied_blocks = true;   ///< code that is mapped at another address is copied, not translated again
    bool copied_chains = true;   ///< and with it what its chains lead to
    bool superblocks = true;     ///< a block goes on behind a conditional branch that isn't taken
    bool shared_lookups = true;  ///< accesses by the same registers share one look-up of their page
    bool inline_system = true;   ///< common system instructions are translated instead of interpreted
    bool inline_strings = true;  ///< MOVS and STOS within a page are the host's
    bool window = true;          ///< the program that runs most uses the host's MMU (host_window.h)
    /// A program runs at least so many instructions without another in between before it gets the window.
    uint64_t window_after = 32'000'000;
    /// The process may be forked, and both go on with the machine (Machine::after_fork()). There is no window then.
    bool forks = false;
    bool perf_map = false;  ///< whoever makes the machine lists its code for profilers (vmm/perf_map.h)
};

/// The same with everything switched off that only makes code faster.
inline EngineOptions without_optimisations(EngineOptions options) {
    options.chaining = options.jump_cache = options.jump_index = options.dead_flags = false;
    options.copied_blocks = options.copied_chains = options.superblocks = options.shared_lookups = false;
    options.inline_system = options.inline_strings = options.window = false;
    return options;
}

/// Whether the engine uses what it has to make code faster.
enum class Optimisations : uint8_t {
    kAsWanted,  ///< as the options have it
    kNone,      ///< none at all: without_optimisations()
};

}  // namespace lockstep::translate
