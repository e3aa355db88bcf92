// SPDX-License-Identifier: Apache-2.0
// What the engine tells people of itself: how much it did, and which host code stands for which guest code.
// Nothing of it is visible in the guest.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::translate {

/// What a vCPU did since it was made.
struct VcpuCounters {
    uint64_t blocks_translated = 0;
    uint64_t blocks_copied = 0;            ///< from blocks for the same code at another address
    uint64_t instructions_translated = 0;  ///< in the translated blocks, not in the copied ones
    uint64_t dispatches = 0;               ///< times that the dispatcher looked for a block to run
    uint64_t memory_misses = 0;            ///< accesses whose page wasn't in the shadow map
    uint64_t windows = 0;                  ///< times that a program was given the window
    uint64_t window_faults = 0;            ///< accesses whose page wasn't in the window
    uint64_t slow_accesses = 0;            ///< accesses of devices, across pages, to pages with code
    uint64_t interpreted = 0;              ///< instructions executed by cpu::interpret()
    uint64_t exceptions = 0;               ///< delivered to the guest
    uint64_t interrupts = 0;               ///< the same
    uint64_t code_pages_forgotten = 0;     ///< pages whose blocks were lost to a write
    uint64_t copies_forgotten = 0;         ///< times that the copied blocks were thrown away alone
    uint64_t code_clears = 0;              ///< times that all blocks were thrown away
};

/// How much of the code cache blocks occupy now, in bytes.
struct CodeUse {
    uint64_t bytes = 0;
    uint64_t room = 0;  ///< used and free
};

struct EngineReport {
    VcpuCounters counters;
    CodeUse hot;   ///< code that runs nearly always
    CodeUse cold;  ///< stubs of rare cases
};

/// A figure of a report, under the name that people see.
struct Figure {
    std::string_view name;
    uint64_t value;
};
/// All figures of a report, in an order for reading.
std::vector<Figure> figures(const EngineReport& report);

/// A reason for which translated code was left, or the interpreter called, and how often that was so far.
struct Departure {
    std::string_view group;  ///< "exit", "slow access" or "interpreted"
    std::string name;
    uint64_t times;
};

enum class CodeKind : uint8_t {
    kBlock,
    kJumpChecks,  ///< entries for indirect jumps that were added to blocks later
    kTransient,   ///< where blocks are made that run only once, one after the other
    kTrampolines,
};

/// A run of host code.
struct CodePiece {
    CodeKind kind{};
    bool cold = false;  ///< of a block: its rare cases
    bool user = false;  ///< of a block: made for user mode
    uint64_t pc = 0;    ///< of a block: the guest's address
    std::span<const uint8_t> code;
};

using CodeVisitor = std::function<void(const CodePiece&)>;

}  // namespace lockstep::translate
