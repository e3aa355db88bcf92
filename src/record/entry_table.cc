// SPDX-License-Identifier: Apache-2.0
#include "record/entry_table.h"

#include <algorithm>

#include "base/check.h"

namespace lockstep::record {

namespace {

struct Row {
    EntryKind kind;
    EntryClass entry_class;
    std::string_view name;
};

constexpr Row kRows[] = {
#define LOCKSTEP_ENTRY(name, number, the_class, text) {EntryKind::name, EntryClass::the_class, #name},
    LOCKSTEP_LOG_ENTRIES(LOCKSTEP_ENTRY)
#undef LOCKSTEP_ENTRY
};

constexpr EntryKind kKinds[] = {
#define LOCKSTEP_ENTRY(name, number, the_class, text) EntryKind::name,
    LOCKSTEP_LOG_ENTRIES(LOCKSTEP_ENTRY)
#undef LOCKSTEP_ENTRY
};

const Row* find(EntryKind kind) {
    const Row* row = std::ranges::find(kRows, kind, &Row::kind);
    return row == std::end(kRows) ? nullptr : row;
}

}  // namespace

std::span<const EntryKind> entry_kinds() { return kKinds; }

bool is_entry_kind(uint8_t number) { return find(static_cast<EntryKind>(number)) != nullptr; }

std::string_view entry_name(EntryKind kind) {
    const Row* row = find(kind);
    return row ? row->name.substr(1) : "unknown";
}

EntryClass entry_class(EntryKind kind) {
    const Row* row = find(kind);
    CHECK(row, "entry kind {}", static_cast<int>(kind));
    return row->entry_class;
}

}  // namespace lockstep::record
