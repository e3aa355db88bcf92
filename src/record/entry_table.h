// SPDX-License-Identifier: Apache-2.0
// Questions about an entry kind, answered from the table in entry.h.
#pragma once

#include <span>
#include <string_view>

#include "record/entry.h"

namespace lockstep::record {

/// Every kind, in the order of the table.
std::span<const EntryKind> entry_kinds();
/// Whether `number` is a kind of this version of the format.
bool is_entry_kind(uint8_t number);
/// As in the table without its k: "NetworkReceive"; "unknown" for a number that isn't in it.
std::string_view entry_name(EntryKind kind);
EntryClass entry_class(EntryKind kind);

}  // namespace lockstep::record
