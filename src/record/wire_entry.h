// SPDX-License-Identifier: Apache-2.0
// Entries as they travel to a backup: each with its size before it, in the encoding of record/entry_codec.h
// with its icount counted from 0. So the replica may send them in groups of any size.
#pragma once

#include <vector>

#include "base/result.h"
#include "record/entry.h"

namespace lockstep::record {

void encode_wire_entry(ByteWriter& out, const Entry& entry);
/// `count` entries that fill `bytes`, or why not.
Result<std::vector<Entry>> decode_wire_entries(ByteSpan bytes, uint64_t count);

}  // namespace lockstep::record
