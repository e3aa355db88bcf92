// SPDX-License-Identifier: Apache-2.0
// The body of an entries frame.
//
//     entry = kind (1 byte), icount (varint, counted from the entry before it in this frame, from 0 in the
//             first), device (varint), payload (varint size, bytes)
//
// So a body can be read without any other, and an entry of an idle guest takes some 10 bytes.
#pragma once

#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "record/entry.h"

namespace lockstep::record {

/// Payloads beyond this are a fault of the caller: such an entry could not share a frame's limit.
inline constexpr size_t kMaxPayload = 16u << 20;

void encode_entry(ByteWriter& out, const Entry& entry, Icount previous);
/// Bytes that encode_entry() writes.
size_t encoded_size(const Entry& entry, Icount previous);

/// Exactly `count` entries that fill the body, none before `least` and in order, or why not.
Result<std::vector<Entry>> decode_entries(ByteSpan body, uint32_t count, Icount least);

}  // namespace lockstep::record
