// SPDX-License-Identifier: Apache-2.0
// Which accesses of a block share one look-up of the shadow map.
//
// Accesses by the same base and index registers lie close together: fields of a structure, a function's stack
// frame. The first of such a group makes sure that the bytes of all of them lie in one page and finds that
// page; the others use what it has found, with no test, no look-up and no need for flags.
//
// A group that isn't in one page, or whose page the map doesn't have in the way that is wanted, is no error:
// the block is left for a PLAIN one that begins at this instruction and shares nothing.
//
// WHY THAT CAN'T BE SEEN. An access of a group is an access to a page that the TLB has held since the group's
// first access: nothing between the two can drop it, but for a miss of another access; after one that did,
// the block is left (Vcpu::Impl::memory_exit). A group is looked up for writing only where a write follows
// its first access without a branch in between.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "translate/guest_instruction.h"

namespace lockstep::translate {

/// Groups of a block at most: there is one slot for each in CpuState.
inline constexpr unsigned kMostGroups = 8;

/// What is done for an access.
enum class Sharing : uint8_t {
    kNone,
    kFirst,
    kMember,
    kIndexed,  ///< in the window: kept as it is, and looked at as a whole
};

struct AccessPlan {
    Sharing sharing = Sharing::kNone;
    uint8_t group = 0;   ///< which slot
    bool write = false;  ///< kFirst: the group is looked up for writing
    int32_t below = 0;   ///< kFirst: where the group's first byte lies, relative to this access; <= 0
    int32_t span = 0;    ///< kFirst: the group's bytes
};

/// Decides for all accesses of a block, in the order in which the block makes them. Accesses that are never
/// shared (absolute addresses, bit strings, FS and GS) are in the list, too.
void plan_lookups(std::span<const GuestInstruction> block, std::vector<AccessPlan>& plans);

/// The same for a block in the window (host_window.h): the first access by a base register looks at the
/// region of that register's value, members are near enough to need no look.
void plan_looks(std::span<const GuestInstruction> block, std::vector<AccessPlan>& plans);

}  // namespace lockstep::translate
